//! Breadth first through all states, each once; the shortest way to a broken promise is printed.

use std::{
    collections::{HashSet, VecDeque},
    hash::{Hash, Hasher},
    io::Write as _,
    time::Instant,
};

use xxhash_rust::xxh3::xxh3_128;

use super::{actions::Action, world::World};
use crate::protocol::bugs::{Bug, with_seeded};

/// A configuration that is larger has no result, and fails.
const MOST_STATES: usize = 4_000_000;

/// How many of the states are gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reduction {
    /// All that differ in anything.
    Nothing,
    /// Those that differ in their future: [`World::settle`].
    Settled,
    /// Of these, those that others can see or change: [`World::step_of_its_own`].
    #[default]
    Alone,
}

/// Goes through all states that can follow a first one. States are told apart by 128-bit hashes: of
/// ten million two share one with a probability below 2^-81.
#[derive(Default)]
struct Search {
    reduction: Reduction,
    seen: HashSet<u128>,
    /// What the states are once settled, where they are not settled one by one.
    settled: HashSet<u128>,
    /// From these nothing more can happen.
    ends: HashSet<u128>,
    steps: Vec<Step>,
    open: VecDeque<Open>,
    transitions: usize,
    depth: u16,
}

/// How a state was reached: from which one, and by what.
struct Step {
    from: u32,
    action: Action,
}

/// A state whose successors are not known yet.
struct Open {
    world: World,
    /// The last step to it.
    at: u32,
    depth: u16,
}

const NOWHERE: u32 = u32::MAX;

impl Search {
    fn run(&mut self, mut first: World) -> Result<(), String> {
        if self.reduction != Reduction::Nothing {
            first.settle();
        }
        self.is_new(&first);
        self.open.push_back(Open { world: first, at: NOWHERE, depth: 0 });
        while let Some(Open { world, at, depth }) = self.open.pop_front() {
            self.depth = depth;
            let actions = world.actions();
            if actions.is_empty() {
                self.ends.insert(settled_hash(&world));
            }
            if let Some(stuck) = world.stuck(&actions) {
                return Err(self.trace(at, &[], &stuck));
            }
            for action in actions {
                self.follow(&world, (at, depth), action)?;
            }
            if self.seen.len() > MOST_STATES {
                return Err("the configuration is too large".to_owned());
            }
        }
        Ok(())
    }

    /// Takes a step, and those after it that need not wait for anybody.
    fn follow(
        &mut self,
        world: &World,
        (at, depth): (u32, u16),
        action: Action,
    ) -> Result<(), String> {
        let (mut next, mut taken) = (world.clone(), vec![action]);
        let mut action = Some(action);
        while let Some(step) = action {
            self.transitions += 1;
            next.apply(step)
                .and_then(|()| {
                    if self.reduction != Reduction::Nothing {
                        next.settle();
                    }
                    next.check()
                })
                .map_err(|broken| self.trace(at, &taken, &broken))?;
            action = match self.reduction {
                Reduction::Alone => next.step_of_its_own(),
                Reduction::Nothing | Reduction::Settled => None,
            };
            taken.extend(action);
        }
        if self.is_new(&next) {
            let mut at = at;
            for action in taken {
                self.steps.push(Step { from: at, action });
                at = self.steps.len() as u32 - 1;
            }
            self.open.push_back(Open { world: next, at, depth: depth + 1 });
        }
        Ok(())
    }

    fn is_new(&mut self, world: &World) -> bool {
        if self.reduction == Reduction::Nothing {
            self.settled.insert(settled_hash(world));
        }
        self.seen.insert(hash(world))
    }

    fn trace(&self, mut at: u32, taken: &[Action], broken: &str) -> String {
        let mut actions: Vec<_> = taken.iter().rev().map(|action| format!("{action:?}")).collect();
        while let Some(step) = self.steps.get(at as usize) {
            actions.push(format!("{:?}", step.action));
            at = step.from;
        }
        actions.reverse();
        format!("{broken}\n  {}", actions.join("\n  "))
    }
}

/// Everything that is hashed, one after another.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn hash(world: &World) -> u128 {
    let mut bytes = Bytes(Vec::with_capacity(1_024));
    world.hash(&mut bytes);
    xxh3_128(&bytes.0)
}

fn settled_hash(world: &World) -> u128 {
    let mut world = world.clone();
    world.settle();
    hash(&world)
}

/// Shows on a small configuration that the reductions lose nothing: states that are settled one by
/// one are those that are settled when all have been found, and with fewer steps all ends are
/// reached.
#[track_caller]
pub(super) fn loses_nothing(name: &str, first: &World) {
    let through = |reduction| {
        let mut search = Search { reduction, ..Search::default() };
        search.run(first.clone()).map(|()| search)
    };
    let [all, settled, alone] =
        [Reduction::Nothing, Reduction::Settled, Reduction::Alone].map(|reduction| {
            through(reduction).unwrap_or_else(|broken| panic!("{name}, {reduction:?}: {broken}"))
        });
    let (states, kept, left) = (all.seen.len(), settled.seen.len(), alone.seen.len());
    say(&format!("reduced | {name} | {states} | {kept} | {left} | {}", alone.ends.len()));
    let (missing, more) = (&all.settled - &settled.seen, &settled.seen - &all.settled);
    assert!(missing.is_empty() && more.is_empty(), "{name}: {} and {}", missing.len(), more.len());
    assert_eq!(all.ends, settled.ends, "{name}");
    assert_eq!(settled.ends, alone.ends, "{name}");
    assert!(alone.seen.is_subset(&settled.seen), "{name}");
}

/// Searches one configuration, says how large it was, and panics with the shortest trace if a
/// promise is broken; then shows that the search would have noticed each of these bugs.
#[track_caller]
pub(super) fn hold(name: &str, first: &World, kills: &[Bug]) {
    let began = Instant::now();
    let mut search = Search::default();
    let held = search.run(first.clone());
    let Search { seen, transitions, depth, .. } = &search;
    let took = began.elapsed().as_secs_f64();
    let violations = usize::from(held.is_err());
    say(&format!(
        "model | {name} | {} | {transitions} | {depth} | {took:.1} | {violations}",
        seen.len()
    ));
    if let Err(broken) = held {
        panic!("{name}: {broken}");
    }
    for bug in kills {
        let began = Instant::now();
        let mut search = Search::default();
        let broken = with_seeded(*bug, || search.run(first.clone()));
        let Err(broken) = broken else { panic!("{name} does not notice {bug:?}") };
        let took = began.elapsed().as_secs_f64();
        let promise = broken.lines().next().unwrap_or_default();
        say(&format!("seeded | {name} | {bug:?} | {} | {took:.1} | {promise}", search.seen.len()));
    }
}

fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}
