//! What a worker writes down of each operation: 32 bytes, appended to a file of its own.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use larder::{Ack, Source};
use parking_lot::Mutex;

const BYTES: usize = 32;
const BUFFER: usize = BYTES << 11;

/// What a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    Default,
    Fresh,
    MaxAge,
    /// `get`: both tiers and no loader.
    Glance,
    /// After all writes and faults: the answer must be what the database holds.
    Settled,
}

impl Mode {
    pub(crate) const ALL: [Self; 5] =
        [Self::Default, Self::Fresh, Self::MaxAge, Self::Glance, Self::Settled];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fresh => "fresh()",
            Self::MaxAge => "max_age()",
            Self::Glance => "get()",
            Self::Settled => "settled",
        }
    }
}

pub(crate) const SOURCES: [Source; 4] = [Source::L1, Source::L2, Source::Loader, Source::Joined];

/// Why a committed write was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unacked {
    /// The writer never invalidated, as if it had died.
    Skipped,
    /// The future of its invalidation was dropped.
    Abandoned,
    /// Its COMMIT had no answer at first.
    InDoubt,
}

impl Unacked {
    const ALL: [Self; 3] = [Self::Skipped, Self::Abandoned, Self::InDoubt];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// COMMIT is about to be sent.
    Committing,
    /// COMMIT was answered.
    Committed,
    /// The invalidation was answered.
    Acked(Ack),
    /// No answer is waited for.
    Unacked(Unacked),
    RolledBack,
    Read(Mode, Source),
    /// The reader dropped its future.
    Cancelled(Mode),
    /// The loader failed, or took too long.
    LoadFailed(Mode),
    /// The read failed for another reason.
    ReadFailed(Mode),
}

/// One line of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) event: Event,
    pub(crate) key: u32,
    pub(crate) version: u64,
    /// When the operation began: for a read, before it asked.
    pub(crate) from: u64,
    /// When it ended.
    pub(crate) till: u64,
    /// The value says that it belongs to another key.
    pub(crate) is_foreign: bool,
}

fn place<T: PartialEq>(of: T, among: &[T]) -> u8 {
    among.iter().position(|one| *one == of).unwrap_or(among.len()) as u8
}

const ACKS: [Ack; 2] = [Ack::Applied, Ack::Queued];

impl Record {
    /// A step of a write, which happened at one moment.
    pub(crate) fn step(event: Event, key: u32, version: u64, at: u64) -> Self {
        Self { event, key, version, from: at, till: at, is_foreign: false }
    }

    fn encode(&self) -> [u8; BYTES] {
        let (kind, first, second) = match self.event {
            Event::Committing => (0, 0, 0),
            Event::Committed => (1, 0, 0),
            Event::Acked(ack) => (2, place(ack, &ACKS), 0),
            Event::Unacked(why) => (3, place(why, &Unacked::ALL), 0),
            Event::RolledBack => (4, 0, 0),
            Event::Read(mode, source) => (5, place(mode, &Mode::ALL), place(source, &SOURCES)),
            Event::Cancelled(mode) => (6, place(mode, &Mode::ALL), 0),
            Event::LoadFailed(mode) => (7, place(mode, &Mode::ALL), 0),
            Event::ReadFailed(mode) => (8, place(mode, &Mode::ALL), 0),
        };
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&[kind, first, second, u8::from(self.is_foreign)]);
        bytes[4..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.from.to_le_bytes());
        bytes[24..].copy_from_slice(&self.till.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let mode = || Mode::ALL.get(usize::from(bytes[1])).copied();
        let event = match bytes[0] {
            0 => Event::Committing,
            1 => Event::Committed,
            2 => Event::Acked(*ACKS.get(usize::from(bytes[1]))?),
            3 => Event::Unacked(*Unacked::ALL.get(usize::from(bytes[1]))?),
            4 => Event::RolledBack,
            5 => Event::Read(mode()?, *SOURCES.get(usize::from(bytes[2]))?),
            6 => Event::Cancelled(mode()?),
            7 => Event::LoadFailed(mode()?),
            8 => Event::ReadFailed(mode()?),
            _ => return None,
        };
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes);
        Some(Self {
            event,
            key: bytes[4..8].try_into().map(u32::from_le_bytes).ok()?,
            version: word(8).ok()?,
            from: word(16).ok()?,
            till: word(24).ok()?,
            is_foreign: bytes[3] != 0,
        })
    }
}

/// The file of one process while it writes.
pub(crate) struct Journal(Mutex<BufWriter<File>>);

impl Journal {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        Ok(Self(Mutex::new(BufWriter::with_capacity(BUFFER, file))))
    }

    /// Writes down what may be lost with the process: a read.
    pub(crate) fn note(&self, record: &Record) -> io::Result<()> {
        self.0.lock().write_all(&record.encode())
    }

    /// Writes down what must outlive the process: the steps of a write.
    pub(crate) fn note_safely(&self, records: &[Record]) -> io::Result<()> {
        let mut file = self.0.lock();
        for record in records {
            file.write_all(&record.encode())?;
        }
        file.flush()
    }
}

/// Reads a file back. A record that was cut off by the end of its process ends it.
pub(crate) fn read(path: &Path) -> io::Result<impl Iterator<Item = Record>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    Ok(std::iter::from_fn(move || {
        let mut bytes = [0; BYTES];
        file.read_exact(&mut bytes).ok()?;
        Record::decode(&bytes)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_its_file_and_a_torn_end_is_left_out() {
        let mut events = vec![Event::Committing, Event::Committed, Event::RolledBack];
        events.extend(ACKS.map(Event::Acked));
        events.extend(Unacked::ALL.map(Event::Unacked));
        for mode in Mode::ALL {
            events.extend(SOURCES.map(|source| Event::Read(mode, source)));
            events.extend([Event::Cancelled(mode), Event::LoadFailed(mode)]);
            events.push(Event::ReadFailed(mode));
        }
        let record = |event| Record {
            event,
            key: 7,
            version: 1 << 41,
            from: u64::MAX - 1,
            till: u64::MAX,
            is_foreign: true,
        };
        let records: Vec<Record> = events.into_iter().map(record).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        Journal::create(&path).and_then(|log| log.note_safely(&records)).expect("written");
        assert!(read(&path).expect("there").eq(records.iter().copied()));
        let length = records.len() as u64 * BYTES as u64;
        File::options().write(true).open(&path).and_then(|f| f.set_len(length - 5)).expect("cut");
        assert_eq!(read(&path).expect("there").count(), records.len() - 1);
    }
}
