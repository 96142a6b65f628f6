//! The raw disk: what one fdatasync of a small append costs, without any of our code.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::stats::percentile;

/// Syncs per probe: some tenths of a second on a slow disk.
const SYNCS: usize = 200;
/// Bytes of each append: one page, as the store's log writes.
const BYTES: [u8; 4_096] = [0x5a; 4_096];

/// Returns the median time of an append with fdatasync, in milliseconds.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn fdatasync_p50_ms(folder: &Path) -> Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&BYTES)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(percentile(&mut times, 0.5))
}
