//! The lock beside an SQLite file: who serves it, where, and what they share.
//!
//! Servers that hear of each other's writes through one Redis hold it together; everybody
//! else holds it alone. The lock is the operating system's, so it goes away with the process
//! that held it. The text in the file says which Redis that is, and explains a refusal.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::private;

/// A server that may share the lock tries this often, with pauses: the one before it holds it
/// alone while it writes down what the others must share.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Who may have the file open beside us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    Nobody,
    /// Servers with the same Redis and prefix, which this names without a secret.
    Through(String),
}

/// Held for as long as a server or a command runs on the file.
#[derive(Debug)]
pub struct DatabaseLock {
    file: File,
    /// Who had it before, and has it still.
    pub beside: Vec<Process>,
}

/// What asking for the lock gave.
#[derive(Debug)]
pub enum Claim {
    Granted(DatabaseLock),
    HeldBy(Holders),
}

/// Those who have the lock, as far as they have said so.
#[derive(Debug)]
pub struct Holders {
    pub processes: Vec<Process>,
    pub sharing: Sharing,
}

/// What one holder wrote about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// The URL that it serves, or the command that it is.
    pub at: String,
}

/// `data/campus.db` is locked through `data/campus.db.lock`.
pub fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes the lock of a database file, or says who has it. Makes the folder if need be.
pub fn claim(database: &Path, sharing: &Sharing) -> io::Result<Claim> {
    private::create_folder_of(database)?;
    let path = path(database);
    let mut attempts = match sharing {
        Sharing::Nobody => 1,
        Sharing::Through(_) => ATTEMPTS,
    };
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let claim = match sharing {
            Sharing::Nobody => alone(file)?,
            Sharing::Through(redis) => together(file, redis)?,
        };
        attempts -= 1;
        match claim {
            Claim::HeldBy(_) if attempts > 0 => thread::sleep(PAUSE),
            claim => return Ok(claim),
        }
    }
}

fn alone(mut file: File) -> io::Result<Claim> {
    if !locked(file.try_lock())? {
        return Ok(Claim::HeldBy(Holders::read(&mut file)?));
    }
    file.set_len(0)?;
    Ok(Claim::Granted(DatabaseLock { file, beside: Vec::new() }))
}

/// The first one writes down what the others must share. Between its two locks another one
/// may come first, so what counts is the text that is there once the lock is shared.
fn together(mut file: File, redis: &str) -> io::Result<Claim> {
    if locked(file.try_lock())? {
        file.set_len(0)?;
        writeln!(file, "redis {redis}")?;
        file.unlock()?;
    }
    let shared = locked(file.try_lock_shared())?;
    let holders = Holders::read(&mut file)?;
    Ok(if shared && holders.sharing == Sharing::Through(redis.to_owned()) {
        Claim::Granted(DatabaseLock { file, beside: holders.processes })
    } else {
        Claim::HeldBy(holders)
    })
}

fn locked(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl DatabaseLock {
    /// Writes down who holds the lock: the URL that is served, or the command.
    pub fn announce(&mut self, at: &str) -> io::Result<()> {
        // One write at the end of the file: others may be announcing themselves too.
        self.file.write_all(format!("process {} {at}\n", std::process::id()).as_bytes())
    }
}

impl Holders {
    fn read(file: &mut File) -> io::Result<Self> {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let redis = text.lines().find_map(|line| line.strip_prefix("redis "));
        let processes = text.lines().filter_map(|line| {
            let (pid, at) = line.strip_prefix("process ")?.split_once(' ')?;
            Some(Process { pid: pid.parse().ok()?, at: at.to_owned() })
        });
        Self {
            processes: processes.filter(Process::may_run).collect(),
            sharing: redis.map_or(Sharing::Nobody, |redis| Sharing::Through(redis.to_owned())),
        }
    }
}

impl Process {
    /// Of those who share the lock the file remembers some that have ended.
    fn may_run(&self) -> bool {
        let processes = Path::new("/proc");
        !processes.join("self").exists() || processes.join(self.pid.to_string()).exists()
    }
}

/// `process 42 (http://127.0.0.1:8000)`
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.at)
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_empty() {
            return f.write_str("a process that is starting");
        }
        let names: Vec<String> = self.processes.iter().map(Process::to_string).collect();
        f.write_str(&names.join(" and "))
    }
}

/// `the Redis 127.0.0.1:6379/0 with the prefix "skillup:"`
impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no Redis"),
            Self::Through(redis) => write!(f, "the Redis {redis}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Holders, Sharing};

    #[test]
    fn holders_say_who_they_are_and_what_they_share_and_the_dead_are_left_out() {
        let me = std::process::id();
        let text = format!("redis r:1/0\nprocess {me} http://a\nprocess 4294967294 http://b\n");
        let holders = Holders::parse(&text);
        assert_eq!(holders.to_string(), format!("process {me} (http://a)"));
        assert_eq!(holders.sharing, Sharing::Through("r:1/0".to_owned()));
        assert_eq!(Holders::parse("").to_string(), "a process that is starting");
    }
}
