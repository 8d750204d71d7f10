//! Runs a parser on mutations of valid files.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use crate::memory;
use crate::mutate::mutation;

/// A parser may take this long for an input. The longest take some 10 ms on an idle machine.
const TIME: Duration = Duration::from_secs(20);

/// Inputs of a parser without `VLSM_FUZZ_INPUTS`.
const SHORT: usize = 250;

/// One parser at a time: memory is counted for the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Whether a parser runs, so that panics are recorded here instead of printed.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Panics while a parser ran, caught or not: whether they are in a crate of this repository, and message and location.
static PANICS: Mutex<Vec<(bool, String)>> = Mutex::new(Vec::new());

/// A parser and its inputs.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) parse: fn(&[u8]) -> bool,
    /// Valid files.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Of `VLSM_FUZZ_INPUTS` inputs it gets this many thousandths; a short run has 250 inputs.
    pub(crate) inputs: usize,
    /// Memory in bytes that an input may take.
    pub(crate) memory: usize,
}

/// Runs a parser on `VLSM_FUZZ_INPUTS` inputs, or on the file `VLSM_FUZZ_REPLAY` alone. Every seed must be accepted.
pub(crate) fn run(target: Target) {
    let _turn = TURN.lock().unwrap_or_else(|error| error.into_inner());
    record_panics();
    if let Some(folder) = std::env::var_os("VLSM_FUZZ_CORPUS") {
        return write_corpus(&Path::new(&folder).join(target.name), &target.seeds);
    }
    let replay = std::env::var_os("VLSM_FUZZ_REPLAY").map(PathBuf::from);
    let wanted = std::env::var("VLSM_FUZZ_INPUTS").ok();
    let wanted = wanted.map(|count| {
        count
            .parse::<usize>()
            .expect("VLSM_FUZZ_INPUTS is a number")
    });
    let count = wanted.unwrap_or(SHORT) * target.inputs / 1000;
    let (name, file) = (target.name, input_file(target.name));
    let started = Instant::now();
    let (sender, receiver) = channel();
    let worker = std::thread::spawn({
        let file = file.clone();
        move || match replay {
            Some(path) => {
                let bytes = std::fs::read(path).expect("VLSM_FUZZ_REPLAY is a file");
                let _ = sender.send(check(&target, &bytes, false));
            }
            None => check_all(&target, count, &file, &sender),
        }
    });
    let (mut inputs, mut accepted, mut slowest, mut largest) = (0, 0, Duration::ZERO, 0);
    loop {
        match receiver.recv_timeout(TIME) {
            Ok(Ok(result)) => {
                inputs += 1;
                accepted += usize::from(result.accepted);
                slowest = slowest.max(result.time);
                largest = largest.max(result.memory);
            }
            Ok(Err(fault)) => panic!("{name}: {fault}; the input is `{}`", file.display()),
            Err(RecvTimeoutError::Timeout) => panic!(
                "{name}: no result after {} s; the input is `{}`",
                TIME.as_secs(),
                file.display()
            ),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().expect("the parser's thread ends");
    let _ = std::fs::remove_file(file);
    println!(
        "{name}: {inputs} inputs, {accepted} accepted, {:.1} s, slowest {:.0} ms, largest {:.1} MB",
        started.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        largest as f64 / 1e6
    );
}

/// The file of the input that is being parsed. It is written first: after a stack overflow or an abort only it is left.
fn input_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{}", std::process::id()))
}

struct Checked {
    accepted: bool,
    time: Duration,
    memory: usize,
}

type Outcome = Result<Checked, String>;

fn check_all(target: &Target, count: usize, file: &Path, sender: &Sender<Outcome>) {
    for number in 0..count.max(target.seeds.len()) {
        let bytes = mutation(&target.seeds, number);
        std::fs::write(file, &bytes).expect("a temporary file");
        let outcome = check(target, &bytes, number < target.seeds.len());
        let failed = outcome.is_err();
        if sender.send(outcome).is_err() || failed {
            return;
        }
    }
}

fn check(target: &Target, bytes: &[u8], seed: bool) -> Outcome {
    let before = memory::reset();
    let started = Instant::now();
    RUNNING.store(true, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| (target.parse)(bytes)));
    RUNNING.store(false, Ordering::Relaxed);
    let time = started.elapsed();
    let (peak, largest) = memory::peak();
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(|error| error.into_inner()));
    let Ok(accepted) = result else {
        return Err(format!("panicked: {panics:?}"));
    };
    // A decoder's panic that is caught becomes an error. A panic of this repository is a fault even then.
    if panics.iter().any(|(own, _)| *own) {
        return Err(format!("panicked and caught it: {panics:?}"));
    }
    let memory = peak - before.min(peak);
    if memory.max(largest) > target.memory {
        return Err(format!(
            "took {memory} bytes of memory, {largest} in one request, for {} bytes of input",
            bytes.len()
        ));
    }
    if seed && !accepted {
        return Err("a valid file is refused".to_owned());
    }
    Ok(Checked {
        accepted,
        time,
        memory,
    })
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_default()
}

/// Records panics while a parser runs, and prints others as usual.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = take_hook();
        set_hook(Box::new(move |info| {
            if !RUNNING.load(Ordering::Relaxed) {
                return default(info);
            }
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let own = location.contains("crates/vlsm");
            let mut panics = PANICS.lock().unwrap_or_else(|error| error.into_inner());
            panics.push((own, format!("{} at {location}", text(info.payload()))));
        }));
    });
}

fn write_corpus(folder: &Path, seeds: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).expect("VLSM_FUZZ_CORPUS can be written");
    for (number, seed) in seeds.iter().enumerate() {
        let path = folder.join(format!("seed-{number}"));
        std::fs::write(path, seed).expect("VLSM_FUZZ_CORPUS can be written");
    }
}
