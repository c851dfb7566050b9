//! QR codes of one-line texts: in the terminal and as pictures.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use anyhow::{Context as _, bail};
use qrcode::{Color, EcLevel, QrCode, types::QrError};

/// A QR code with the light border that readers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qr {
    /// Modules in a row, and rows.
    size: usize,
    /// Row by row.
    dark: Vec<bool>,
}

/// How modules are told apart in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Black on white, whatever the terminal's own colours are.
    Colours,
    /// Light modules are drawn and dark ones left out: as it should be where the background is
    /// dark, and inverted, which most readers take, where it is light.
    Plain,
}

impl Qr {
    /// The code of a text, with more redundancy where there is room.
    ///
    /// # Errors
    /// When the text is too long for any QR code.
    pub fn of(text: &str) -> anyhow::Result<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M)
            .or_else(|_| QrCode::with_error_correction_level(text, EcLevel::L));
        match code {
            Ok(code) => Ok(Self::with_border(code.width(), &code.to_colors())),
            Err(QrError::DataTooLong) => bail!(
                "the text has {} characters, and a QR code holds at most {MOST_BYTES}; send the \
                 file or its text in another way",
                text.len()
            ),
            Err(error) => Err(error).context("cannot make a QR code; send the file itself"),
        }
    }

    fn with_border(width: usize, colours: &[Color]) -> Self {
        let size = width + 2 * BORDER;
        let mut dark = vec![false; size * size];
        for (at, colour) in colours.iter().enumerate() {
            let (x, y) = (at % width + BORDER, at / width + BORDER);
            dark[y * size + x] = *colour == Color::Dark;
        }
        Self { size, dark }
    }

    /// For the standard output, if it is wide enough where it is a terminal.
    ///
    /// # Errors
    /// Says what to do where it is not.
    pub fn for_stdout(&self) -> anyhow::Result<String> {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Ok(self.text(Paint::Plain));
        }
        if let Some((columns, _)) = terminal_size::terminal_size_of(&stdout) {
            self.check_fits(usize::from(columns.0))?;
        }
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(self.text(if plain { Paint::Plain } else { Paint::Colours }))
    }

    fn check_fits(&self, columns: usize) -> anyhow::Result<()> {
        if columns < self.size {
            bail!(
                "the QR code is {} columns wide and the terminal {columns}; make the terminal \
                 wider or its letters smaller, or draw a picture with `stmgr show --png FILE`",
                self.size
            );
        }
        Ok(())
    }

    /// Two rows of modules in one line of half blocks, without the last line end.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let lines = (0..self.size).step_by(2).map(|y| {
            let half = |x| match (self.is_drawn(x, y, paint), self.is_drawn(x, y + 1, paint)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            };
            let line: String = (0..self.size).map(half).collect();
            match paint {
                Paint::Colours => format!("{BLACK_ON_WHITE}{line}{USUAL}"),
                Paint::Plain => line,
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A picture of a few colours and pixels.
    ///
    /// # Errors
    /// None that is known.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        let side = self.size * PIXELS;
        let pixels = u32::try_from(side).context("the picture is too large")?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, pixels, pixels);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().context("cannot draw the picture")?;
        // A bit a pixel, each row in whole bytes; 1 is white.
        let mut data = vec![0_u8; side.div_ceil(8) * side];
        for (y, row) in data.chunks_mut(side.div_ceil(8)).enumerate() {
            for x in 0..side {
                if !self.is_dark(x / PIXELS, y / PIXELS) {
                    row[x / 8] |= 0x80 >> (x % 8);
                }
            }
        }
        writer.write_image_data(&data).context("cannot draw the picture")?;
        writer.finish().context("cannot draw the picture")?;
        Ok(bytes)
    }

    /// A picture that can be drawn at any size.
    #[must_use]
    pub fn svg(&self) -> String {
        let (size, mut path) = (self.size, String::new());
        for y in 0..size {
            let mut x = 0;
            while x < size {
                let run = (x..size).take_while(|x| self.is_dark(*x, y)).count();
                if 0 < run {
                    // Writing to a text does not fail.
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" \
             width=\"{0}\" height=\"{0}\" shape-rendering=\"crispEdges\">\n\
             <path fill=\"#fff\" d=\"M0 0h{size}v{size}h-{size}z\"/>\n\
             <path fill=\"#000\" d=\"{path}\"/>\n</svg>\n",
            size * PIXELS
        )
    }

    fn is_drawn(&self, x: usize, y: usize, paint: Paint) -> bool {
        match paint {
            Paint::Colours => self.is_dark(x, y),
            Paint::Plain => !self.is_dark(x, y),
        }
    }

    /// Everything around the code is light.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        x < self.size && y < self.size && self.dark[y * self.size + x]
    }
}

/// As wide as the standard of QR codes asks for.
const BORDER: usize = 4;
/// The side of a module in pictures.
const PIXELS: usize = 8;
/// The most that the largest QR code holds (ISO/IEC 18004, version 40, level L, bytes).
const MOST_BYTES: usize = 2_953;
/// Of the 256 colours: those of the first 16 are often changed by the terminal's theme.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const USUAL: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees in a square picture, `is_dark` by column and row.
    fn read(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        // Readers expect more than one pixel a module.
        let scale = if side < 400 { 4 } else { 1 };
        let mut picture =
            rqrr::PreparedImage::prepare_from_greyscale(side * scale, side * scale, |x, y| {
                if is_dark(x / scale, y / scale) { 0 } else { 255 }
            });
        let grids = picture.detect_grids();
        assert_eq!(grids.len(), 1, "one code is seen");
        grids[0].decode().unwrap().1
    }

    /// Which half of a character is drawn.
    fn halves(character: char) -> [bool; 2] {
        match character {
            ' ' => [false, false],
            '▀' => [true, false],
            '▄' => [false, true],
            '█' => [true, true],
            other => panic!("{other:?} is no half block"),
        }
    }

    fn read_text(text: &str, drawn_is_dark: bool) -> String {
        let lines: Vec<Vec<[bool; 2]>> =
            text.lines().map(|line| line.chars().map(halves).collect()).collect();
        let side = lines[0].len();
        read(side, |x, y| lines[y / 2][x][y % 2] == drawn_is_dark)
    }

    fn texts() -> Vec<String> {
        [1, 60, 230, 700, MOST_BYTES - 20]
            .iter()
            .map(|n| format!("offset:friend:{}", "aB3_".repeat(n / 4)))
            .collect()
    }

    #[test]
    fn what_a_terminal_shows_is_read() {
        for text in texts() {
            let qr = Qr::of(&text).unwrap();
            assert_eq!(read_text(&qr.text(Paint::Plain), false), text);
            let painted = qr.text(Paint::Colours);
            let bare: Vec<&str> = painted
                .lines()
                .map(|line| line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(USUAL).unwrap())
                .collect();
            assert_eq!(read_text(&bare.join("\n"), true), text);
        }
    }

    #[test]
    fn what_a_png_shows_is_read() {
        for text in texts() {
            let bytes = Qr::of(&text).unwrap().png().unwrap();
            let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info().unwrap();
            let mut data = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut data).unwrap();
            assert_eq!((info.bit_depth, info.width), (png::BitDepth::One, info.height));
            let side = usize::try_from(info.width).unwrap();
            let dark = |x: usize, y: usize| data[y * info.line_size + x / 8] << (x % 8) & 0x80 == 0;
            assert_eq!(read(side, dark), text);
        }
    }

    #[test]
    fn what_an_svg_shows_is_read() {
        for text in texts() {
            let qr = Qr::of(&text).unwrap();
            let svg = qr.svg();
            let path = svg.split("fill=\"#000\" d=\"").nth(1).unwrap().split('"').next().unwrap();
            let mut dark = vec![false; qr.size * qr.size];
            for run in path.split_terminator('z') {
                let (start, run) = run.strip_prefix('M').unwrap().split_once('h').unwrap();
                let (x, y) = start.split_once(' ').unwrap();
                let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
                let length: usize = run.split_once('v').unwrap().0.parse().unwrap();
                dark[y * qr.size + x..][..length].fill(true);
            }
            assert_eq!(read(qr.size, |x, y| dark[y * qr.size + x]), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_do() {
        assert!(Qr::of(&"a".repeat(MOST_BYTES)).is_ok());
        let error = Qr::of(&"a".repeat(MOST_BYTES + 1)).unwrap_err().to_string();
        assert!(error.contains("2954 characters") && error.contains("at most 2953"), "{error}");
        let qr = Qr::of("offset:").unwrap();
        assert_eq!(qr.size, 21 + 8);
        qr.check_fits(29).unwrap();
        let error = qr.check_fits(28).unwrap_err().to_string();
        assert!(error.contains("29 columns") && error.contains("--png"), "{error}");
    }
}
