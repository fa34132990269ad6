//! Breadth first through all states, each once; the shortest way to a broken promise is printed.

use std::{
    collections::{HashSet, VecDeque},
    hash::{Hash, Hasher as _},
    io::Write as _,
    time::Instant,
};

use xxhash_rust::xxh3::Xxh3;

use super::{actions::Action, world::World};

/// A configuration that is larger takes more than its minute.
const MOST_STATES: usize = 2_500_000;

/// What a search went through.
pub(super) struct Searched {
    pub(super) states: usize,
    pub(super) broken: Option<String>,
}

/// How a state was reached: from which one, and by what.
struct Step {
    from: u32,
    action: Action,
}

/// Goes through all states that can follow `first`. States are told apart by 128-bit hashes: two of
/// ten million share one with a probability below 2^-80.
pub(super) fn search(first: &World) -> Searched {
    let (mut seen, mut steps) = (HashSet::new(), Vec::new());
    let mut open = VecDeque::from([(first.clone(), u32::MAX)]);
    seen.insert(hash(first));
    while let Some((world, at)) = open.pop_front() {
        let actions = world.actions();
        if let Some(stuck) = world.stuck(&actions) {
            return Searched { states: seen.len(), broken: Some(trace(&steps, at, &stuck)) };
        }
        for action in actions {
            let mut next = world.clone();
            let mut outcome = next.apply(action);
            if outcome.is_ok() {
                next.forget_what_cannot_matter();
                if !seen.insert(hash(&next)) {
                    continue;
                }
                outcome = next.check();
            }
            steps.push(Step { from: at, action });
            let reached = steps.len() as u32 - 1;
            match outcome {
                Ok(()) if seen.len() > MOST_STATES => {
                    let broken = Some("the configuration is too large".to_owned());
                    return Searched { states: seen.len(), broken };
                }
                Ok(()) => open.push_back((next, reached)),
                Err(broken) => {
                    let broken = trace(&steps, reached, &broken);
                    return Searched { states: seen.len(), broken: Some(broken) };
                }
            }
        }
    }
    Searched { states: seen.len(), broken: None }
}

fn hash(world: &World) -> u128 {
    let mut hasher = Xxh3::new();
    world.hash(&mut hasher);
    let _ = hasher.finish();
    hasher.digest128()
}

fn trace(steps: &[Step], mut at: u32, broken: &str) -> String {
    let mut actions = Vec::new();
    while let Some(step) = steps.get(at as usize) {
        actions.push(format!("{:?}", step.action));
        at = step.from;
    }
    actions.reverse();
    format!("{broken}\n  {}", actions.join("\n  "))
}

/// Searches one configuration and says how large it was; panics with the shortest trace if a
/// promise is broken.
#[track_caller]
pub(super) fn hold(name: &str, first: &World) {
    let began = Instant::now();
    let searched = search(first);
    let took = began.elapsed().as_secs_f64();
    let line = format!("model {name}: {} states, {took:.1} s\n", searched.states);
    let _ = std::io::stdout().write_all(line.as_bytes());
    if let Some(broken) = searched.broken {
        panic!("{name}: {broken}");
    }
}
