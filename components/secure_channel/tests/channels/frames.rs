//! The halves of an open channel.

use std::time::Duration;

use offset_crypto::SeededRng;
use offset_proto::session::Purpose;
use offset_secure_channel::{Error, Framing};
use tokio::time::{sleep, timeout};

use crate::pipe::{Tamper, Tampered, channels, meet, pipe};

#[tokio::test(start_paused = true)]
async fn every_length_around_every_boundary() {
    for purpose in Purpose::ALL {
        let (client, server) = channels(purpose).await;
        let ((mut out, _client_in), (_server_out, mut received)) = (client.split(), server.split());
        let limit = Framing::new(purpose).max_message_bytes();
        let lengths = [1, 2, 251, 252, 253, 4092, 4093, 16 * 1024, 60_000, limit - 1, limit];
        let sending = async {
            for length in lengths {
                out.send(&vec![b'x'; length]).await.unwrap();
            }
        };
        let receiving = async {
            for length in lengths {
                assert_eq!(received.recv().await.unwrap(), vec![b'x'; length]);
            }
        };
        tokio::join!(sending, receiving);
        let error = out.send(&vec![0; limit + 1]).await.unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { .. }), "{error}");
        out.send(b"still well").await.unwrap();
        assert_eq!(received.recv().await.unwrap(), &b"still well"[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_in_one_write() {
    let (client, server) = channels(Purpose::Friend).await;
    let ((mut out, _client_in), (_server_out, mut received)) = (client.split(), server.split());
    let messages: Vec<_> = (1..=2000usize).map(|length| vec![7; length % 300 + 1]).collect();
    let sending = out.send_all(messages.iter().map(|message| &message[..]));
    let receiving = async {
        for message in &messages {
            assert_eq!(received.recv().await.unwrap(), message);
        }
    };
    let (sent, ()) = tokio::join!(sending, receiving);
    sent.unwrap();
}

#[tokio::test(start_paused = true)]
async fn giant_frames_end_the_channel() {
    for purpose in Purpose::ALL {
        let limit = u32::try_from(purpose.max_frame_bytes()).unwrap();
        for length in [0, limit + 1, 16 << 20, u32::MAX] {
            let (client, server) = channels(purpose).await;
            let (mut out, _client_in) = client.split();
            let (_server_out, mut received) = server.split();
            out.write_framed(&length.to_be_bytes()).await.unwrap();
            out.flush().await.unwrap();
            let error = received.recv().await.unwrap_err();
            assert!(matches!(error, Error::Frame(_)), "{purpose:?} {length}: {error}");
            assert!(matches!(received.recv().await, Err(Error::Closed)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_in_order_and_others() {
    let (client, server) = channels(Purpose::Relay).await;
    let ((mut out, client_in), (server_out, mut received)) = (client.split(), server.split());
    out.send(b"last").await.unwrap();
    out.close().await.unwrap();
    assert_eq!(received.recv().await.unwrap(), &b"last"[..]);
    assert!(matches!(received.recv().await, Err(Error::Closed)));
    drop((client_in, server_out));

    let (client, server) = channels(Purpose::Relay).await;
    let ((mut out, client_in), (_server_out, mut received)) = (client.split(), server.split());
    out.send(b"last").await.unwrap();
    drop((out, client_in));
    assert_eq!(received.recv().await.unwrap(), &b"last"[..]);
    assert!(matches!(received.recv().await, Err(Error::CutOff(_))));

    let (client, server) = channels(Purpose::Relay).await;
    let ((mut out, _client_in), (_server_out, mut received)) = (client.split(), server.split());
    out.write_framed(&[0, 0, 0, 9, 1]).await.unwrap();
    out.close().await.unwrap();
    assert!(matches!(received.recv().await, Err(Error::CutOff(_))), "within a frame");
}

#[tokio::test(start_paused = true)]
async fn receiving_can_be_cancelled_anywhere() {
    let (client, server) = pipe();
    let slow = Tamper { at_once: Some(1), ..Tamper::default() };
    let client = Tampered::new(client, Tamper::default(), slow);
    let (client, server) = meet(client, server, Purpose::Friend).await;
    let (mut out, _client_in) = client.unwrap().split();
    let (_server_out, mut received) = server.unwrap().split();
    let sending = async {
        let mut framed = Vec::new();
        for number in 0..20u8 {
            out.framing().append(&[number; 300], &mut framed).unwrap();
        }
        for piece in framed.chunks(7) {
            out.write_framed(piece).await.unwrap();
            out.flush().await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
    };
    let receiving = async {
        let (mut number, mut cancelled) = (0u8, 0);
        while number < 20 {
            match timeout(Duration::from_micros(700), received.recv()).await {
                Ok(message) => {
                    assert_eq!(message.unwrap(), vec![number; 300]);
                    number += 1;
                }
                Err(_) => cancelled += 1,
            }
        }
        assert!(100 < cancelled, "only {cancelled}");
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_send_closes_the_half() {
    let (client, server) = channels(Purpose::Friend).await;
    let ((mut out, _client_in), _server) = (client.split(), server.split());
    let sent = timeout(Duration::from_secs(1), out.send(&vec![1; 1_000_000])).await;
    assert!(sent.is_err(), "nobody reads");
    assert!(matches!(out.send(b"more").await, Err(Error::CutOff(_))));
}

#[tokio::test(start_paused = true)]
async fn random_talk_both_ways() {
    let (client, server) = channels(Purpose::Friend).await;
    let talk = |channel: offset_secure_channel::Channel| async move {
        let (mut out, mut received) = channel.split();
        let mut lengths = SeededRng::new(4);
        let mut expected = SeededRng::new(4);
        let sending = async {
            for _ in 0..100 {
                let length = usize::try_from(lengths.below(20_000)).unwrap() + 1;
                out.send(&vec![3; length]).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..100 {
                let length = usize::try_from(expected.below(20_000)).unwrap() + 1;
                assert_eq!(received.recv().await.unwrap().len(), length);
            }
            received.bytes_received()
        };
        tokio::join!(sending, receiving).1
    };
    let (one, other) = tokio::join!(talk(client), talk(server));
    assert_eq!(one, other);
}
