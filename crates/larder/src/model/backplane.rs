//! The backplane as `l2/backplane.rs` runs it: messages and heartbeats over one connection.

use super::world::{Item, Line, World};
use crate::protocol::{
    bugs::{Bug, is_seeded},
    feed::Verdict,
};

impl World {
    pub(super) fn subscribe(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.line = Some(Line::new());
        process.feed.subscribed(self.redis.epoch);
    }

    pub(super) fn send_heartbeat(&mut self, at: usize) {
        self.left.beats -= 1;
        let (now, process) = (self.now, &mut self.processes[at]);
        process.feed.asking();
        if let Some(line) = &mut process.line {
            (line.asked, line.is_asking) = (Some(now), true);
        }
    }

    /// Redis executes the heartbeat.
    pub(super) fn answer_heartbeat(&mut self, at: usize) {
        let sequence = self.redis.data.sequence;
        if let Some(line) = &mut self.processes[at].line {
            line.is_asking = false;
            line.inbox.push(Item::Answer(sequence));
        }
    }

    /// The oldest thing in the inbox; or, where that is the answer to the heartbeat, the message
    /// after it (`is_past_answer`): they come over one connection, but to two queues.
    pub(super) fn hear(&mut self, at: usize, index: usize) {
        let Some(line) = &mut self.processes[at].line else { return };
        let item = line.inbox.remove(index);
        match item {
            Item::Message { sequence, sender, rows } => {
                if sender != Some(at) {
                    self.stamped(at, rows);
                }
                if self.processes[at].feed.heard(sequence) != Verdict::InStep {
                    self.flush(at);
                }
            }
            Item::Answer(sequence) => self.beat(at, sequence),
        }
    }

    fn beat(&mut self, at: usize, sequence: Option<u64>) {
        let process = &mut self.processes[at];
        let Some(line) = &mut process.line else { return };
        let Some(sent) = line.asked.take() else { return };
        match process.feed.beat(sequence) {
            Verdict::InStep => process.proven = Some(sent),
            Verdict::Missed => {
                self.flush(at);
                self.processes[at].proven = Some(sent);
            }
            Verdict::NoSequence => {
                line.is_numbering = true;
                self.flush(at);
            }
        }
    }

    fn flush(&mut self, at: usize) {
        self.processes[at].stamp(|stamps| stamps.flush());
    }

    pub(super) fn number(&mut self, at: usize) {
        self.redis.number();
        if let Some(line) = &mut self.processes[at].line {
            line.is_numbering = false;
        }
    }

    /// Another task than this one extends the window.
    pub(super) fn extend_elsewhere(&mut self, at: usize) {
        if is_seeded(Bug::WindowElsewhere) {
            self.left.beats -= 1;
            self.processes[at].proven = Some(self.now);
        }
    }
}
