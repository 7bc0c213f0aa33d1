//! Who computes: threads that all models of a process share.
//!
//! A batch takes its turn, then has every thread to itself: two models never run beside one another, so they never
//! fight for the cores. Threads that have nothing to do look for work for a few microseconds, then sleep. Whoever
//! hands out work takes part in it and waits only for parts that somebody has begun: a thread that the system has
//! put aside delays nobody.

use std::{
    any::Any,
    cell::UnsafeCell,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a thread looks for work, or for the end of it, before it sleeps: longer than the pauses inside a pass,
/// and too short to be missed by whoever else wants the core.
const SPIN: Duration = Duration::from_micros(30);
/// Looks between two glances at the clock.
const LOOKS: usize = 32;

/// Threads, and the line of those who wait for them.
pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Default)]
struct Line {
    /// The number that the next one in line gets.
    last: u64,
    /// Whose turn it is.
    now: u64,
}

/// The right to hand out work; the next in line has it when this is dropped.
pub(crate) struct Turn<'a>(&'a Threads);

/// Who takes part in a forward pass.
#[derive(Clone, Copy)]
pub(crate) enum Team<'a> {
    /// The thread that runs it: others run passes beside it.
    Alone,
    /// All threads share out every operation.
    Together(&'a Turn<'a>),
}

impl Team<'_> {
    /// Does parts 0 to `parts`, each once.
    pub(crate) fn run(self, parts: usize, work: &Work<'_>) {
        match self {
            Self::Alone => (0..parts).for_each(work),
            Self::Together(turn) => turn.run(parts, work),
        }
    }

    /// Returns how many threads take part.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Together(turn) => turn.threads(),
        }
    }
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// The number of the job in the upper half, the parts of it that nobody has taken yet in the lower.
    job: AtomicU64,
    work: UnsafeCell<Option<*const Work<'static>>>,
    /// Parts that are not finished.
    unfinished: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: AtomicUsize,
    /// Whether a job is under way.
    busy: AtomicBool,
    /// Whether the one who handed out the job sleeps until it is finished.
    awaited: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    begun: Condvar,
    ended: Condvar,
}

#[expect(unsafe_code, reason = "threads are lent a closure that lives on the stack of another")]
// SAFETY: `work` is written only between jobs, by the holder of the turn, and read only by who has taken a part.
unsafe impl Sync for Shared {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above; the pointer is not used outside of a job.
unsafe impl Send for Shared {}

impl Default for Threads {
    /// Takes as many threads as this process may have cores, by its affinity and its control group.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl Threads {
    /// Starts so many threads, the caller of each job being one of them.
    pub fn new(count: usize) -> Self {
        let shared = Arc::new(Shared::new());
        let start = |_| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("engine".to_owned());
            // Fewer threads than wanted are slower, not wrong.
            thread.spawn(move || shared.serve()).ok()
        };
        let handles = (1..count).filter_map(start).collect();
        Self { shared, handles, line: Mutex::default(), moved: Condvar::new() }
    }

    /// Returns how many threads take part in a job.
    pub fn count(&self) -> usize {
        self.handles.len() + 1
    }

    /// Waits for a turn, first come, first served.
    pub(crate) fn turn(&self) -> Turn<'_> {
        let mut line = lock(&self.line);
        let number = line.last;
        line.last += 1;
        while line.now != number {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.lock));
        self.shared.begun.notify_all();
        for handle in self.handles.drain(..) {
            // A thread that panicked outside of a part has nothing left to tell.
            drop(handle.join());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.line).now += 1;
        self.0.moved.notify_all();
    }
}

/// Lets the next job in, also when this one panics.
struct Free<'a>(&'a AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Turn<'_> {
    /// Returns how many threads take part in a job.
    pub(crate) fn threads(&self) -> usize {
        self.0.count()
    }

    /// Does parts 0 to `parts`, each once, in no certain order, on all threads; a panic in one is passed on.
    pub(crate) fn run(&self, parts: usize, work: &Work<'_>) {
        if parts <= 1 || self.0.handles.is_empty() {
            return (0..parts).for_each(work);
        }
        let parts_of_job = u32::try_from(parts).expect("no job has so many parts");
        if self.0.shared.busy.swap(true, Ordering::Acquire) {
            // Work handed out from within work: its thread does it.
            return (0..parts).for_each(work);
        }
        let free = Free(&self.0.shared.busy);
        self.0.shared.run(parts_of_job, work);
        drop(free);
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            job: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::default(),
            asleep: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lock: Mutex::default(),
            begun: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    fn run(&self, parts: u32, work: &Work<'_>) {
        #[expect(unsafe_code, reason = "the threads outlive the closure, its use does not")]
        // SAFETY: only the lifetime changes. The pointer is read by who has taken a part of this job, and this
        // function returns when every part is finished.
        let work = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        #[expect(unsafe_code, reason = "see `Sync`")]
        // SAFETY: nobody reads between jobs: taking a part of an earlier one fails, its number is another.
        unsafe {
            *self.work.get() = Some(work);
        }
        self.unfinished.store(parts as usize, Ordering::Relaxed);
        let number = (self.job.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.job.store(number << 32 | u64::from(parts), Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.lock));
            self.begun.notify_all();
        }
        while self.take() {}
        self.join();
        if let Some(panic) = lock(&self.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Waits until every part is finished.
    fn join(&self) {
        let finished = || self.unfinished.load(Ordering::SeqCst) == 0;
        if spin(finished) {
            return;
        }
        let mut guard = lock(&self.lock);
        self.awaited.store(true, Ordering::SeqCst);
        while !finished() {
            guard = self.ended.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.awaited.store(false, Ordering::SeqCst);
    }

    /// Does one part of the present job; says whether there was one.
    fn take(&self) -> bool {
        let mut job = self.job.load(Ordering::Acquire);
        let part = loop {
            let left = job & u64::from(u32::MAX);
            if left == 0 {
                return false;
            }
            match self.job.compare_exchange_weak(job, job - 1, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break left as usize - 1,
                Err(now) => job = now,
            }
        };
        #[expect(unsafe_code, reason = "see `Sync`")]
        // SAFETY: this thread has taken a part that it has not finished, so the job and what it borrows are alive.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        let result =
            catch_unwind(AssertUnwindSafe(|| work.into_iter().for_each(|work| work(part))));
        if let Err(panic) = result {
            lock(&self.panic).get_or_insert(panic);
        }
        if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1
            && self.awaited.load(Ordering::SeqCst)
        {
            drop(lock(&self.lock));
            self.ended.notify_all();
        }
        true
    }

    /// Takes parts of every job until the end.
    fn serve(&self) {
        let ready =
            || self.job.load(Ordering::SeqCst) as u32 != 0 || self.stop.load(Ordering::SeqCst);
        loop {
            while self.take() {}
            if !spin(ready) {
                let mut guard = lock(&self.lock);
                self.asleep.fetch_add(1, Ordering::SeqCst);
                while !ready() {
                    guard = self.begun.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// Looks for something a while; says whether it has come.
fn spin(ready: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if started.elapsed() > SPIN {
            return ready();
        }
    }
}

/// Locks; whoever panicked with a lock in hand left nothing half done behind any of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once() {
        for count in [1, 2, 3, 8] {
            let threads = Threads::new(count);
            let turn = threads.turn();
            for parts in [0, 1, 2, 7, 100] {
                let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..200 {
                    turn.run(parts, &|part| {
                        done[part].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(
                    done.iter().all(|done| done.load(Ordering::Relaxed) == 200),
                    "{count} {parts}"
                );
            }
        }
    }

    #[test]
    fn turns_come_in_order_and_exclude_one_another() {
        let threads = Threads::new(3);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = threads.turn();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        turn.run(4, &|_| std::hint::spin_loop());
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_is_passed_on_and_the_threads_live() {
        let threads = Threads::new(2);
        for _ in 0..50 {
            let turn = threads.turn();
            let job = || turn.run(8, &|part| assert_ne!(part, 5, "the sixth part fails"));
            assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
            turn.run(8, &|_| {});
        }
    }

    #[test]
    fn threads_that_slept_wake_up() {
        let threads = Threads::new(2);
        for _ in 0..20 {
            std::thread::park_timeout(SPIN * 10);
            let turn = threads.turn();
            let meeting = std::sync::Barrier::new(2);
            // Two parts that wait for one another: both threads must come.
            turn.run(2, &|_| {
                meeting.wait();
            });
        }
    }
}
