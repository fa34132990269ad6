//! Reads the files of a catalogue: plain, gzip or zstd, told apart by their first bytes, line by line or whole.
//!
//! Everything is bounded, because a file comes from anywhere: a line, a whole document, and what a
//! compressed file may unpack to.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::problem::{ImportError, Place, Problem};

/// The longest line that is read.
pub(super) const MAX_LINE: usize = 8 << 20;
/// The largest document that is read as a whole: a JSON array or a CSV file.
pub(super) const MAX_DOCUMENT: u64 = 64 << 20;
/// What one file may unpack to.
const MAX_UNPACKED: u64 = 256 << 20;
/// The largest zstd window that is accepted (2^27 = 128 MiB), as `zstd -d` does by default.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BOM: &[u8] = &[0xef, 0xbb, 0xbf];

type Reader = Box<dyn BufRead>;

/// Opens a file, unpacks it when its first bytes say that it is packed, and drops a byte order mark.
fn open(path: &Path, limit: u64) -> Result<Reader, ImportError> {
    let unreadable = |source| ImportError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ImportError::Missing(path.to_owned()),
        _ => unreadable(source),
    })?;
    let mut raw = BufReader::with_capacity(64 << 10, file);
    let head = raw.fill_buf().map_err(unreadable)?;
    let unpacked: Box<dyn Read> = if head.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(raw))
    } else if head.starts_with(ZSTD) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(unreadable)?;
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(unreadable)?;
        Box::new(decoder)
    } else {
        Box::new(raw)
    };
    Ok(Box::new(BufReader::with_capacity(
        64 << 10,
        Bounded { inner: unpacked, limit, left: limit },
    )))
}

/// Fails, instead of ending quietly, where a file unpacks to more than `limit` bytes.
struct Bounded {
    inner: Box<dyn Read>,
    limit: u64,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(format!("it is larger than {} MiB (unpacked)", self.limit >> 20))
        })?;
        Ok(n)
    }
}

/// The lines of a file with their numbers. Blank lines are skipped, CRLF and a byte order mark are tolerated.
pub(super) struct Lines {
    file: String,
    reader: Reader,
    line: u64,
    text: Vec<u8>,
    broken: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        Self::open_up_to(path, MAX_UNPACKED)
    }

    /// For files that are meant to be larger than a catalogue.
    pub(super) fn open_up_to(path: &Path, limit: u64) -> Result<Self, ImportError> {
        let reader = open(path, limit)?;
        let file = path.display().to_string();
        Ok(Self { file, reader, line: 0, text: Vec::new(), broken: false })
    }

    /// The next line that is not blank. `None` at the end, and after an error behind which nothing can be read.
    pub(super) fn next(&mut self) -> Option<Result<(Place<'_>, &str), Problem>> {
        loop {
            if self.broken {
                return None;
            }
            match self.fill() {
                Ok(false) => return None,
                Ok(true) if self.text.trim_ascii().is_empty() => {}
                Ok(true) => break,
                Err(reason) => {
                    self.broken = true;
                    return Some(Err(self.place().problem("", reason)));
                }
            }
        }
        let place = Place { file: &self.file, line: self.line };
        let text = std::str::from_utf8(self.text.trim_ascii()).map(|text| (place, text));
        Some(text.map_err(|error| place.problem("", not_utf8(error))))
    }

    fn place(&self) -> Place<'_> {
        Place { file: &self.file, line: self.line }
    }

    /// Reads one line, at most [`MAX_LINE`] bytes of it; false at the end of the file.
    fn fill(&mut self) -> Result<bool, String> {
        self.text.clear();
        self.line += 1;
        let mut limited = self.reader.by_ref().take(MAX_LINE as u64 + 1);
        let n = limited.read_until(b'\n', &mut self.text).map_err(|error| damaged(&error))?;
        if n > MAX_LINE {
            return Err(format!("the line is longer than {} MiB", MAX_LINE >> 20));
        }
        if self.line == 1 && self.text.starts_with(BOM) {
            self.text.drain(..BOM.len());
        }
        Ok(n > 0)
    }
}

/// A whole document (a JSON array or a CSV file) as text.
pub(super) fn document(path: &Path) -> Result<Result<String, Problem>, ImportError> {
    let mut bytes = Vec::new();
    let file = path.display().to_string();
    let read = open(path, MAX_DOCUMENT)?.read_to_end(&mut bytes);
    let place = Place { file: &file, line: 1 + newlines(&bytes) };
    if let Err(error) = read {
        return Ok(Err(place.problem("", damaged(&error))));
    }
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    Ok(String::from_utf8(bytes).map_err(|error| {
        let line = 1 + newlines(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        Place { file: &file, line }.problem("", not_utf8(error.utf8_error()))
    }))
}

/// How the first line of a file begins, for guessing its layout; all of it unless it is very long.
/// A later reader tells what is wrong behind that; only a file that cannot be read at all is told here.
pub(super) fn first_line(path: &Path) -> Result<String, ImportError> {
    let mut lines = Lines::open(path)?;
    let bad = lines.next().and_then(Result::err);
    match bad {
        Some(problem) if lines.text.is_empty() => Err(ImportError::BadRows(problem.into())),
        _ => Ok(String::from_utf8_lossy(lines.text.trim_ascii()).into_owned()),
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn damaged(error: &io::Error) -> String {
    format!("the file cannot be read further: {error}")
}

fn not_utf8(error: std::str::Utf8Error) -> String {
    format!("the text is not UTF-8 (byte {})", error.valid_up_to() + 1)
}
