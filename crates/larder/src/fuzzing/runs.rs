//! The targets on stable: every file of the corpus, then random changes of them for as long as
//! `LARDER_FUZZ_SECONDS` says (two), from `LARDER_FUZZ_SEED` (another one each time).

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{TARGETS, Target, allocation::largest_of};

/// What a target may allocate at once: a page or two of its own, and a multiple of its input.
const OWN_BYTES: usize = 16 << 10;
/// The Redis client makes room for 4,096 values when an array begins.
const OWN_BYTES_OF_REPLIES: usize = 256 << 10;
const BYTES_A_BYTE: usize = 64;
const LONGEST_INPUT: usize = 8 << 10;

#[test]
fn nothing_in_the_corpus_breaks_a_target() {
    for target in TARGETS {
        for (file, input) in corpus(target.0) {
            run(target, &input, &format!("fuzz/corpus/{}/{file}", target.0));
        }
    }
}

#[test]
fn no_bytes_under_a_value_key_are_read_as_what_was_not_written() {
    run_at_random("envelope");
}

#[test]
fn no_bytes_on_the_channel_are_read_as_what_was_not_sent() {
    run_at_random("message");
}

#[test]
fn no_answer_of_redis_breaks_its_reader() {
    run_at_random("reply");
}

#[test]
fn no_two_lists_of_segments_render_alike() {
    run_at_random("key");
}

#[test]
fn no_text_breaks_the_reader_of_the_outbox() {
    run_at_random("names");
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(&folder).expect("a folder for each target");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file");
            let name = file.file_name().into_string().expect("a plain name");
            (name, fs::read(file.path()).expect("readable"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{folder} is empty");
    inputs
}

fn run((name, target): Target, input: &[u8], origin: &str) {
    let mut end = Ok(());
    let largest = largest_of(|| end = catch_unwind(AssertUnwindSafe(|| target(input))));
    let shown = input.escape_ascii();
    assert!(end.is_ok(), "{origin} breaks it:\n{shown}");
    let own = if name == "reply" { OWN_BYTES_OF_REPLIES } else { OWN_BYTES };
    let most = own + BYTES_A_BYTE * input.len();
    assert!(largest <= most, "{origin} makes it allocate {largest} bytes:\n{shown}");
}

fn run_at_random(name: &str) {
    let target = TARGETS.into_iter().find(|target| target.0 == name).expect("a target");
    let seed = number("LARDER_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let limit = Duration::from_secs(number("LARDER_FUZZ_SECONDS").unwrap_or(2));
    let mut inputs: Vec<_> = corpus(name).into_iter().map(|(_, input)| input).collect();
    inputs.push(Vec::new());
    let mut rng = fastrand::Rng::with_seed(seed);
    let (began, mut runs) = (Instant::now(), 0_u64);
    while began.elapsed() < limit {
        let mut input = inputs[rng.usize(..inputs.len())].clone();
        for _ in 0..=rng.u8(..8) {
            change(&mut input, &inputs, &mut rng);
        }
        input.truncate(LONGEST_INPUT);
        run(target, &input, &format!("{name}, LARDER_FUZZ_SEED={seed}, run {runs}"));
        runs += 1;
    }
    #[expect(clippy::print_stdout, reason = "`make fuzz` shows how far it came")]
    {
        println!("{name}: {runs} inputs in {limit:?}, LARDER_FUZZ_SEED={seed}");
    }
}

fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect("a number"))
}

/// One random change: of a byte, of a bit, a piece less, a piece more, a piece of another input.
fn change(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut fastrand::Rng) {
    const TELLING: [u8; 12] = [0, 1, 18, 127, 255, b'\n', b'\\', b' ', b':', b'%', b'-', b'V'];
    let at = rng.usize(..=input.len());
    let end = at + rng.usize(..=(input.len() - at).min(64));
    match rng.u8(..7) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        1 if at < input.len() => input[at] = rng.u8(..),
        2 => input.insert(at, TELLING[rng.usize(..TELLING.len())]),
        3 => drop(input.drain(at..end)),
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => input.truncate(at),
        _ => {
            let other = &others[rng.usize(..others.len())];
            let from = rng.usize(..=other.len());
            let to = from + rng.usize(..=(other.len() - from).min(128));
            input.splice(at..end, other[from..to].iter().copied());
        }
    }
}
