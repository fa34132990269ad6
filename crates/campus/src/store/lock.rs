//! The lock beside an SQLite file: who serves it, and where.
//!
//! The lock is the operating system's, so it goes away with the process that
//! held it; the text inside the file only explains a refusal.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::private;

/// Held for as long as a server runs on the file.
#[derive(Debug)]
pub struct DatabaseLock {
    file: File,
}

/// What asking for the lock gave.
#[derive(Debug)]
pub enum Claim {
    Granted(DatabaseLock),
    /// Another process has it; what it wrote about itself.
    HeldBy(Holder),
}

/// The server that has the lock.
#[derive(Debug, Clone, Default)]
pub struct Holder {
    pub pid: Option<u32>,
    pub url: Option<String>,
}

/// `data/campus.db` is locked through `data/campus.db.lock`.
pub fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes the lock of a database file, or says who has it. Makes the folder if need be.
pub fn claim(database: &Path) -> io::Result<Claim> {
    private::create_folder_of(database)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path(database))?;
    match file.try_lock() {
        Ok(()) => Ok(Claim::Granted(DatabaseLock { file })),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Claim::HeldBy(Holder::read(&text)))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl DatabaseLock {
    /// Writes down who holds the lock and where it can be reached.
    pub fn announce(&mut self, url: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "pid {}\nurl {url}", std::process::id())?;
        self.file.flush()
    }
}

impl Holder {
    fn read(text: &str) -> Self {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Self {
            pid: field("pid").and_then(|pid| pid.parse().ok()),
            url: field("url").map(str::to_owned),
        }
    }
}

/// `process 42 at http://127.0.0.1:8000`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("an unknown process")?,
        }
        let url = self.url.as_deref().unwrap_or("an unknown address");
        write!(f, " at {url}")
    }
}

#[cfg(test)]
mod tests {
    use super::Holder;

    #[test]
    fn a_holder_says_who_and_where_it_is() {
        let holder = Holder::read("pid 42\nurl http://127.0.0.1:8000\n");
        assert_eq!(holder.to_string(), "process 42 at http://127.0.0.1:8000");
        let unknown = Holder::read("").to_string();
        assert_eq!(unknown, "an unknown process at an unknown address");
    }
}
