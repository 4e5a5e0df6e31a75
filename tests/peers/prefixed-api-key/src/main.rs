//! Prints what a call to prefixed-api-key costs, as one line of JSON. The cost is a lower bound: it covers parsing and
//! hashing a key but not looking it up in a store.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prefixed_api_key::{PakControllerOsSha256, PrefixedApiKey};
use rustix::time::{ClockId, clock_gettime};

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Calls `one(0)`, `one(1)` and so on for about `seconds` seconds. Returns the calls per second and the CPU-ms per
/// call.
fn measure(seconds: f64, mut one: impl FnMut(usize)) -> (f64, f64) {
    let (start, before, mut calls) = (Instant::now(), cpu(), 0);
    while start.elapsed().as_secs_f64() < seconds {
        // Reads the clock only once every 256 calls, because one call takes less than a microsecond.
        for _ in 0..256 {
            one(calls);
            calls += 1;
        }
    }
    let count = calls as f64;
    (count / start.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64() * 1000.0 / count)
}

/// Returns the peak resident memory, in MiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

fn main() {
    let controller = PakControllerOsSha256::configure()
        .prefix("peer".to_owned())
        .seam_defaults()
        .finalize()
        .expect("the defaults are complete");
    let held: Vec<(String, String)> = (0..200)
        .map(|_| {
            let (key, hash) = controller.generate_key_and_hash();
            (key.to_string(), hash)
        })
        .collect();
    let forged: Vec<String> = (0..200).map(|_| controller.generate_key().to_string()).collect();
    let check = |key: &str, hash: &str| {
        PrefixedApiKey::from_string(black_box(key)).is_ok_and(|key| controller.check_hash(&key, hash))
    };

    measure(0.3, |i| assert!(check(&held[i % 200].0, &held[i % 200].1)));
    let (create_rate, create_cpu) = measure(1.0, |_| {
        let (key, hash) = controller.generate_key_and_hash();
        black_box((key.to_string(), hash));
    });
    let (verify_rate, verify_cpu) = measure(1.0, |i| assert!(check(&held[i % 200].0, &held[i % 200].1)));
    let (forged_rate, forged_cpu) = measure(1.0, |i| assert!(!check(&forged[i % 200], &held[i % 200].1)));

    // The library has no store, so it has no expired or revoked keys and executes no statements.
    println!(
        "{{\"name\":\"prefixed-api-key\",\"create_per_s\":{create_rate:.0},\"verify_per_s\":{verify_rate:.0},\
         \"forged_per_s\":{forged_rate:.0},\"create_cpu_ms\":{create_cpu:.5},\"verify_cpu_ms\":{verify_cpu:.5},\
         \"forged_cpu_ms\":{forged_cpu:.5},\"expired_cpu_ms\":null,\"revoked_cpu_ms\":null,\
         \"statements_per_verify\":0,\"statements_per_forged\":0,\"rss_mb\":{:.1}}}",
        peak()
    );
}
