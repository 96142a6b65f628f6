//! Takes a job's output through the supervisor into a file, and drops what is over the limit.
//!
//! The pipe is always read to its end: a job that says too much is not stopped by a full pipe, and not told.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::thread::JoinHandle;

/// Room for what is read at once; the size of a pipe on Linux.
const CHUNK_BYTES: usize = 64 << 10;

/// Starts a thread that copies `pipe` to the file `path`, at most `limit` bytes of it. It ends when no process has the
/// pipe's other end, and returns how many bytes were dropped.
pub(super) fn keep(pipe: impl Read + Send + 'static, path: &Path, limit: u64) -> std::io::Result<JoinHandle<u64>> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    Ok(std::thread::spawn(move || copy(pipe, file, limit)))
}

fn copy(mut pipe: impl Read, mut file: impl Write, limit: u64) -> u64 {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut room, mut dropped) = (limit, 0_u64);
    loop {
        let read = match pipe.read(&mut chunk) {
            Ok(0) => return dropped,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return dropped,
        };
        let kept = usize::try_from(room).map_or(read, |room| room.min(read));
        // A full disk is not the job's fault; what cannot be kept counts as dropped.
        let written = chunk.get(..kept).is_some_and(|part| file.write_all(part).is_ok());
        let kept = if written { kept as u64 } else { 0 };
        room = if written { room - kept } else { 0 };
        dropped += read as u64 - kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_up_to_the_limit_and_the_rest_is_counted() {
        for (limit, kept, dropped) in [(0, "", 6), (4, "abcd", 2), (6, "abcdef", 0), (100, "abcdef", 0)] {
            let mut file = Vec::new();
            assert_eq!(copy(&b"abcdef"[..], &mut file, limit), dropped);
            assert_eq!(file, kept.as_bytes());
        }
    }
}
