//! Frames: how messages lie in the byte stream inside TLS, and the two halves that move them.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use offset_proto::session::Purpose;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};

use crate::{Error, channel::Stream};

/// The form of frames of one purpose: a 4-byte big-endian length, then the content, which is the
/// message; on friend sessions the content is the message's length (4 bytes), the message, and zeros
/// up to the next of 256, 512, 1024, 2048, 4096 and then multiples of 4096 bytes, so that sizes tell
/// whoever carries them little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    purpose: Purpose,
}

impl Framing {
    /// The form for `purpose`.
    #[must_use]
    pub const fn new(purpose: Purpose) -> Self {
        Self { purpose }
    }

    /// The longest message that fits in a frame.
    #[must_use]
    pub const fn max_message_bytes(self) -> usize {
        let limit = self.purpose.max_frame_bytes();
        if self.is_padded() { limit - LENGTH_BYTES } else { limit }
    }

    /// How many bytes the frame of a message of this length has, its length included.
    #[must_use]
    pub const fn frame_bytes(self, message_bytes: usize) -> usize {
        LENGTH_BYTES + self.content_bytes(message_bytes)
    }

    /// Appends the frame of `message` to `out`, which then may be sent with
    /// [`FrameSender::write_framed`].
    ///
    /// # Errors
    /// [`Error::MessageTooLong`], and nothing is appended, for a message over the limit;
    /// [`Error::Frame`] for an empty one.
    pub fn append(self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let limit = self.max_message_bytes();
        if limit < message.len() {
            return Err(Error::MessageTooLong { bytes: message.len(), limit });
        }
        if message.is_empty() {
            return Err(Error::Frame(EMPTY.into()));
        }
        let content = self.content_bytes(message.len());
        let end = out.len() + LENGTH_BYTES + content;
        out.reserve(LENGTH_BYTES + content);
        out.extend_from_slice(&length_field(content));
        if self.is_padded() {
            out.extend_from_slice(&length_field(message.len()));
        }
        out.extend_from_slice(message);
        out.resize(end, 0);
        Ok(())
    }

    /// Takes the message of the first frame in `buffer`, once all of it is there.
    ///
    /// # Errors
    /// [`Error::Frame`] for a frame that breaks the rules; the stream is then of no more use.
    pub fn take(self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        let Some(content) = read_length(buffer) else { return Ok(None) };
        let limit = self.purpose.max_frame_bytes();
        if content == 0 {
            return Err(Error::Frame(EMPTY.into()));
        }
        if limit < content {
            return Err(Error::Frame(format!(
                "a frame of {content} bytes, at most {limit} allowed"
            )));
        }
        if buffer.len() < LENGTH_BYTES + content {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        let content = buffer.split_to(content).freeze();
        if self.is_padded() { self.unpad(content).map(Some) } else { Ok(Some(content)) }
    }

    /// There is exactly one padding of a message; any other is refused.
    fn unpad(self, mut content: Bytes) -> Result<Bytes, Error> {
        let whole = content.len();
        let length = read_length(&content).unwrap_or(0);
        let exact = 0 < length
            && length <= self.max_message_bytes()
            && self.content_bytes(length) == whole
            && content[LENGTH_BYTES + length..].iter().all(|byte| *byte == 0);
        if !exact {
            return Err(Error::Frame("a frame that is not padded as it must be".into()));
        }
        content.advance(LENGTH_BYTES);
        content.truncate(length);
        Ok(content)
    }

    const fn content_bytes(self, message_bytes: usize) -> usize {
        if self.is_padded() { padded_bytes(LENGTH_BYTES + message_bytes) } else { message_bytes }
    }

    const fn is_padded(self) -> bool {
        matches!(self.purpose, Purpose::Friend)
    }
}

/// The sending half of a channel. Not safe to cancel: after a send that was dropped before it was
/// done, the half is closed, because part of a frame may have left.
pub struct FrameSender {
    stream: WriteHalf<Stream>,
    framing: Framing,
    /// A write began and did not finish.
    broken: bool,
}

impl FrameSender {
    pub(crate) const fn new(stream: WriteHalf<Stream>, framing: Framing) -> Self {
        Self { stream, framing, broken: false }
    }

    /// The form of this channel's frames.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Sends one message and flushes it.
    ///
    /// # Errors
    /// [`Error::MessageTooLong`], [`Error::CutOff`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        self.send_all([message]).await
    }

    /// Sends several messages in one write and flushes them.
    ///
    /// # Errors
    /// [`Error::MessageTooLong`] (then nothing was sent), [`Error::CutOff`].
    pub async fn send_all<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        let mut framed = Vec::new();
        for message in messages {
            self.framing.append(message, &mut framed)?;
        }
        self.write_framed(&framed).await?;
        self.flush().await
    }

    /// Writes bytes that [`Framing::append`] made, or a part of them; [`FrameSender::flush`] must
    /// follow the last part.
    ///
    /// # Errors
    /// [`Error::CutOff`].
    pub async fn write_framed(&mut self, framed: &[u8]) -> Result<(), Error> {
        self.begin()?;
        self.stream.write_all(framed).await.map_err(|error| Error::of_stream(&error))?;
        self.broken = false;
        Ok(())
    }

    /// Waits until everything written was handed to the stream.
    ///
    /// # Errors
    /// [`Error::CutOff`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.stream.flush().await.map_err(|error| Error::of_stream(&error))?;
        self.broken = false;
        Ok(())
    }

    /// Ends this direction in order, so that the other side sees [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::CutOff`].
    pub async fn close(mut self) -> Result<(), Error> {
        self.begin()?;
        self.stream.shutdown().await.map_err(|error| Error::of_stream(&error))
    }

    fn begin(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::CutOff("an earlier write was not finished".into()));
        }
        self.broken = true;
        Ok(())
    }
}

/// The receiving half of a channel. Holds memory only while bytes wait in it.
pub struct FrameReceiver {
    stream: ReadHalf<Stream>,
    framing: Framing,
    buffer: BytesMut,
    bytes_received: u64,
    ended: bool,
}

impl FrameReceiver {
    pub(crate) fn new(stream: ReadHalf<Stream>, framing: Framing) -> Self {
        Self { stream, framing, buffer: BytesMut::new(), bytes_received: 0, ended: false }
    }

    /// The next message. Safe to cancel: what has arrived of a frame is kept.
    ///
    /// # Errors
    /// [`Error::Closed`] after an end in order, [`Error::CutOff`] after any other,
    /// [`Error::Frame`] when the peer broke the rules. After an error there is nothing more to
    /// receive.
    pub async fn recv(&mut self) -> Result<Bytes, Error> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`FrameReceiver::recv`] as a poll.
    ///
    /// # Errors
    /// As [`FrameReceiver::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        if self.ended {
            return Poll::Ready(Err(Error::Closed));
        }
        let result = ready!(self.poll_message(cx));
        if result.is_err() {
            self.ended = true;
            self.buffer = BytesMut::new();
        }
        Poll::Ready(result)
    }

    /// How many bytes of frames have arrived, those of unfinished frames included: a sign of life.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        loop {
            if let Some(message) = self.framing.take(&mut self.buffer)? {
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
                return Poll::Ready(Ok(message));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(if self.buffer.is_empty() {
                    Error::Closed
                } else {
                    Error::CutOff("closed within a frame".into())
                }));
            }
        }
    }

    /// Appends what has arrived to the buffer. The bytes pass through the stack, so that a half that
    /// waits owns no buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut arrived = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))
            .map_err(|error| Error::of_stream(&error))?;
        self.buffer.extend_from_slice(arrived.filled());
        self.bytes_received += u64::try_from(arrived.filled().len()).unwrap_or(0);
        Poll::Ready(Ok(arrived.filled().len()))
    }
}

impl std::fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSender").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReceiver").field("framing", &self.framing).finish_non_exhaustive()
    }
}

const fn padded_bytes(bytes: usize) -> usize {
    if bytes <= SMALLEST_PADDED {
        SMALLEST_PADDED
    } else if bytes <= PADDING_STEP {
        bytes.next_power_of_two()
    } else {
        bytes.next_multiple_of(PADDING_STEP)
    }
}

fn length_field(length: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(length).expect("limited by the purpose").to_be_bytes()
}

fn read_length(bytes: &[u8]) -> Option<usize> {
    let field = bytes.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*field)).ok()
}

const LENGTH_BYTES: usize = 4;
const SMALLEST_PADDED: usize = 256;
const PADDING_STEP: usize = 4096;
/// One TLS record.
const READ_BYTES: usize = 16 * 1024;
const EMPTY: &str = "an empty frame";

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(purpose: Purpose, message: &[u8]) -> BytesMut {
        let mut out = Vec::new();
        Framing::new(purpose).append(message, &mut out).unwrap();
        assert_eq!(out.len(), Framing::new(purpose).frame_bytes(message.len()));
        BytesMut::from(&out[..])
    }

    #[test]
    fn padding_sizes() {
        let cases = [
            (1, 256),
            (252, 256),
            (253, 512),
            (508, 512),
            (509, 1024),
            (1021, 2048),
            (2045, 4096),
            (4092, 4096),
            (4093, 8192),
            (8188, 8192),
            (8189, 12288),
            (1024 * 1024 - 4, 1024 * 1024),
        ];
        for (message, content) in cases {
            let framing = Framing::new(Purpose::Friend);
            assert_eq!(framing.frame_bytes(message), 4 + content, "{message}");
            let mut buffer = framed(Purpose::Friend, &vec![7; message]);
            assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), vec![7; message]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn limits_of_every_purpose() {
        for purpose in Purpose::ALL {
            let framing = Framing::new(purpose);
            let limit = framing.max_message_bytes();
            let mut buffer = framed(purpose, &vec![1; limit]);
            assert_eq!(buffer.len(), 4 + purpose.max_frame_bytes());
            assert_eq!(framing.take(&mut buffer).unwrap().unwrap().len(), limit);
            let mut out = Vec::new();
            let error = framing.append(&vec![1; limit + 1], &mut out).unwrap_err();
            assert!(matches!(error, Error::MessageTooLong { .. }), "{error}");
            assert!(framing.append(&[], &mut out).is_err());
            assert!(out.is_empty());
        }
    }

    #[test]
    fn giant_and_empty_lengths_are_refused_from_the_header_alone() {
        for purpose in Purpose::ALL {
            let limit = u32::try_from(purpose.max_frame_bytes()).unwrap();
            for length in [0, limit + 1, 16 << 20, u32::MAX] {
                let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
                let capacity = buffer.capacity();
                let error = Framing::new(purpose).take(&mut buffer).unwrap_err();
                assert!(matches!(error, Error::Frame(_)), "{length}: {error}");
                assert_eq!(buffer.capacity(), capacity);
            }
            let mut buffer = BytesMut::from(&limit.to_be_bytes()[..]);
            assert!(Framing::new(purpose).take(&mut buffer).unwrap().is_none());
        }
    }

    #[test]
    fn any_other_padding_is_refused() {
        let good = framed(Purpose::Friend, b"hello");
        let framing = Framing::new(Purpose::Friend);
        assert_eq!(framing.take(&mut good.clone()).unwrap().unwrap(), &b"hello"[..]);
        let mut changed = Vec::new();
        // Not zero; a length of 0; a length beyond the frame; a longer frame than needed.
        for (place, value) in [(259, 1), (13, 1), (7, 0), (7, 255), (4, 255)] {
            let mut frame = good.clone();
            frame[place] = value;
            changed.push(frame);
        }
        let mut longer = BytesMut::from(&512u32.to_be_bytes()[..]);
        longer.extend_from_slice(&good[4..]);
        longer.resize(4 + 512, 0);
        changed.push(longer);
        changed.push(BytesMut::from(&[0, 0, 0, 2, 0, 1][..]));
        for mut frame in changed {
            assert!(framing.take(&mut frame).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for purpose in Purpose::ALL {
                let mut buffer = BytesMut::from(&bytes[..]);
                while let Ok(Some(_)) = Framing::new(purpose).take(&mut buffer) {}
            }
        }
    }
}
