//! The one place that writes to the terminal.

use std::error::Error;
use std::io::{self, Write};

/// Standard output for results, standard error for complaints.
pub struct Output {
    out: io::Stdout,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { out: io::stdout() }
    }

    /// Writes one line of a result.
    ///
    /// # Errors
    /// What writing to standard output gives, for example a closed pipe.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Writes rows below their heads; the last column is as wide as it is.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: Vec<[String; N]>,
    ) -> io::Result<()> {
        let head = head.map(str::to_owned);
        let all = || std::iter::once(&head).chain(&rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in all() {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Tells what is no part of the result.
    pub(super) fn remark(&mut self, text: &str) {
        // As in `complain`.
        let _ = writeln!(io::stderr(), "campus: {text}");
    }

    /// Tells why a command failed, with every cause once.
    pub fn complain(&mut self, error: &(dyn Error + 'static)) {
        let mut text = format!("campus: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        // There is nobody left to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
