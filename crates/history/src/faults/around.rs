//! What happens to the lines to Redis, and to the workers.

use std::time::Duration;

use private_servers::Proxy;
use rustix::process::Signal;
use tokio::time;

use super::{Course, CutOff, Fault};
use crate::{Failure, clock, crew::Crew};

const LONGEST_CUT: Duration = Duration::from_secs(2);
const LONGEST_FREEZE: Duration = Duration::from_secs(2);

/// Troubles one line after the other.
pub(super) async fn trouble_lines(lines: &[Proxy], mut course: Course) -> Vec<Fault> {
    while course.goes_on().await {
        let at = course.rng.usize(..lines.len());
        let (line, kind) = (&lines[at], course.rng.u8(..3));
        let from = clock::now();
        let name = match kind {
            0 => {
                line.cut();
                "one worker cut off from redis"
            }
            1 => {
                line.data().hold();
                line.backplane().hold();
                "one worker's line to redis silent"
            }
            _ => {
                line.backplane().hold();
                "one worker's backplane silent"
            }
        };
        course.sleep(LONGEST_CUT).await;
        let mut cut_off = None;
        if kind == 0 {
            line.emptied().await;
            cut_off = Some((CutOff::Line(at), clock::now()));
        }
        line.mend();
        // The other workers go on, and heal what this one leaves.
        course.faults.push(Fault { cut_off, ..Fault::over(name, false, from) });
    }
    course.faults
}

/// Troubles one worker after the other.
pub(super) async fn trouble_workers(
    crew: &mut Crew,
    mut course: Course,
) -> Result<Vec<Fault>, Failure> {
    while course.goes_on().await {
        let at = course.rng.usize(..crew.size());
        let from = clock::now();
        let name = match course.rng.u8(..4) {
            0 => {
                crew.kill(at).await?;
                "worker killed"
            }
            1 => {
                crew.abort(at).await?;
                "worker died between commit and invalidation"
            }
            _ => {
                crew.signal(at, Signal::STOP)?;
                course.sleep(LONGEST_FREEZE).await;
                crew.signal(at, Signal::CONT)?;
                course.faults.push(Fault::over("worker frozen", true, from));
                continue;
            }
        };
        time::sleep(course.up_to(Duration::from_millis(300))).await;
        course.faults.push(Fault::over(name, true, from));
        crew.replace(at).await?;
    }
    Ok(course.faults)
}
