//! Time on the processor, which waiting for one does not lengthen.

/// Seconds this thread has run so far; NaN where the system does not tell (it is read from Linux's `/proc`).
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
}
