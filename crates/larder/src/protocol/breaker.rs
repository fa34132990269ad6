//! When to stop asking Redis: after a run of faults, or when half of the recent answers failed.

/// Faults in a row that open the breaker.
const CONSECUTIVE: u32 = 5;
/// Answers that the share is taken of.
const WINDOW: u32 = 20;

/// Counts answers while closed. Opening it hands Redis to the reconnect loop, whose probes alone
/// close it again: no request is ever the probe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    consecutive: u32,
    /// One bit an answer, newest lowest; 1 is a fault.
    recent: u32,
    answers: u32,
}

impl Breaker {
    /// Records an answer; `true` if the breaker must open now.
    pub(crate) fn record(&mut self, answer: Result<(), ()>) -> bool {
        let fault = u32::from(answer.is_err());
        self.consecutive = (self.consecutive + 1) * fault;
        self.recent = (self.recent << 1 | fault) & ((1 << WINDOW) - 1);
        self.answers = (self.answers + 1).min(WINDOW);
        self.consecutive >= CONSECUTIVE
            || (self.answers == WINDOW && self.recent.count_ones() * 2 >= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_faults_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        let opened: Vec<_> = (0..5).map(|_| breaker.record(Err(()))).collect();
        assert_eq!(opened, [false, false, false, false, true]);
    }

    #[test]
    fn a_success_ends_the_run() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.record(Err(())));
        }
        assert!(!breaker.record(Ok(())));
        assert!(!breaker.record(Err(())));
    }

    #[test]
    fn half_of_the_last_twenty_open_it() {
        let mut breaker = Breaker::default();
        let opened = (0..20).map(|at| breaker.record(if at % 2 == 0 { Err(()) } else { Ok(()) }));
        assert_eq!(opened.filter(|&open| open).count(), 1);
    }
}
