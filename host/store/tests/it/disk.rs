//! A disk that remembers what was synced, under SQLite's own file system for Unix.
//!
//! Files are real, so the store works as always. Beside that, each write since the last sync of its file is recorded,
//! and [`Disk::cut`] makes what a power cut could have left: what was synced, and of the rest any part, with writes
//! dropped, torn between sectors and out of order among files. Removing a file counts as durable at once.
#![expect(unsafe_code, reason = "SQLite takes a file system only as a table of C functions")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};

use rusqlite::ffi;

/// The name under which SQLite knows the disk.
pub(crate) const VFS: &str = "power-cut";

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Draws numbers: the same ones for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Draws a number below `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Op {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }

    /// Splits a write into its sectors, each of which may reach the disk without the others.
    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::Write(at, bytes) => {
                let parts = bytes.chunks(SECTOR).enumerate();
                parts.map(|(index, part)| Self::Write(at + index * SECTOR, part.to_vec())).collect()
            }
            Self::Truncate(_) => vec![self.clone()],
        }
    }
}

#[derive(Clone, Debug, Default)]
struct OneFile {
    synced: Option<Vec<u8>>,
    pending: Vec<Op>,
}

/// What is left of each file after a cut.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// Called at moments at which the power may go.
pub(crate) type Watcher = Box<dyn FnMut(&State) + Send>;

/// The files of one folder, and the faults to play.
#[derive(Default)]
pub(crate) struct State {
    files: BTreeMap<String, OneFile>,
    /// Writes are refused for lack of space.
    pub(crate) full: bool,
    /// The next sync fails, and says so once.
    pub(crate) sync_fails: bool,
    /// Syncs so far.
    pub(crate) syncs: u64,
    pub(crate) writes: u64,
}

impl State {
    /// Makes what a power cut at this moment could leave.
    pub(crate) fn cut(&self, dice: &mut Dice) -> Image {
        // A cut may come when nearly all has reached the disk, or nearly nothing.
        let odds = dice.below(5);
        let mut image = Image::new();
        for (name, file) in &self.files {
            if file.synced.is_none() && file.pending.is_empty() {
                continue;
            }
            let mut content = file.synced.clone().unwrap_or_default();
            for op in &file.pending {
                let whole = dice.below(4) != 0;
                let parts = if whole { vec![op.clone()] } else { op.sectors() };
                for part in parts {
                    if dice.below(4) < odds {
                        part.apply(&mut content);
                    }
                }
            }
            image.insert(name.clone(), content);
        }
        image
    }
}

/// One folder on the disk.
#[derive(Clone)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    watcher: Arc<Mutex<Option<Watcher>>>,
}

impl Disk {
    /// Takes a folder under observation, before a store is made in it.
    pub(crate) fn watch(folder: &Path) -> Self {
        register();
        let disk = Self { state: Arc::default(), watcher: Arc::default() };
        DISKS.lock().unwrap().insert(folder.canonicalize().unwrap(), disk.clone());
        disk
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Calls `watcher` before each sync and each write.
    pub(crate) fn at_each_step(&self, watcher: Watcher) {
        *self.watcher.lock().unwrap() = Some(watcher);
    }

    fn step(&self) {
        if let Some(watcher) = self.watcher.lock().unwrap().as_mut() {
            watcher(&self.state());
        }
    }
}

/// An open file: where it belongs, and the functions that really work on it.
#[derive(Clone)]
struct Open {
    disk: Disk,
    name: String,
    real: &'static ffi::sqlite3_io_methods,
}

static DISKS: LazyLock<Mutex<HashMap<PathBuf, Disk>>> = LazyLock::new(Mutex::default);
static OPEN: LazyLock<Mutex<HashMap<usize, Open>>> = LazyLock::new(Mutex::default);
static REAL: OnceLock<usize> = OnceLock::new();

fn real() -> *mut ffi::sqlite3_vfs {
    *REAL.get().unwrap() as *mut ffi::sqlite3_vfs
}

fn open_file(file: *mut ffi::sqlite3_file) -> Open {
    OPEN.lock().unwrap().get(&(file as usize)).unwrap().clone()
}

fn register() {
    REAL.get_or_init(|| {
        // SAFETY: SQLite's default file system lives as long as the process, and so do the copy and its name.
        unsafe {
            ffi::sqlite3_initialize();
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut ours = *real;
            ours.pNext = std::ptr::null_mut();
            ours.zName = c"power-cut".as_ptr();
            ours.xOpen = Some(x_open);
            ours.xDelete = Some(x_delete);
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0), ffi::SQLITE_OK);
            real as usize
        }
    });
}

/// Finds the disk that watches the file's folder.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn place(name: *const c_char) -> Option<(Disk, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by contract.
    let path = Path::new(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let folder = path.parent()?.canonicalize().ok()?;
    let disk = DISKS.lock().unwrap().get(&folder)?.clone();
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

/// Opens with the real functions, and puts ours in front of those that write.
unsafe extern "C" fn x_open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's, for a file system whose file structure is the real one's.
    unsafe {
        let result = (*real()).xOpen.unwrap()(real(), name, file, flags, out);
        if result != ffi::SQLITE_OK || (*file).pMethods.is_null() {
            return result;
        }
        let Some((disk, name)) = place(name) else { return result };
        let real: &'static ffi::sqlite3_io_methods = &*(*file).pMethods;
        let mut ours = *real;
        ours.xClose = Some(x_close);
        ours.xWrite = Some(x_write);
        ours.xTruncate = Some(x_truncate);
        ours.xSync = Some(x_sync);
        (*file).pMethods = Box::leak(Box::new(ours));
        disk.state().files.entry(name.clone()).or_default();
        OPEN.lock().unwrap().insert(file as usize, Open { disk, name, real });
        result
    }
}

unsafe extern "C" fn x_delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let result = (*real()).xDelete.unwrap()(real(), name, sync);
        if let (ffi::SQLITE_OK, Some((disk, name))) = (result, place(name)) {
            disk.state().files.remove(&name);
        }
        result
    }
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = open_file(file);
    OPEN.lock().unwrap().remove(&(file as usize));
    // SAFETY: the file was opened by the real functions.
    unsafe { open.real.xClose.unwrap()(file) }
}

unsafe extern "C" fn x_write(file: *mut ffi::sqlite3_file, data: *const c_void, len: c_int, at: i64) -> c_int {
    let open = open_file(file);
    open.disk.step();
    if open.disk.state().full {
        return ffi::SQLITE_FULL;
    }
    // SAFETY: the arguments are SQLite's; `data` has `len` bytes.
    let (result, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(len).unwrap()).to_vec();
        (open.real.xWrite.unwrap()(file, data, len, at), bytes)
    };
    if result == ffi::SQLITE_OK {
        let mut state = open.disk.state();
        state.writes += 1;
        let op = Op::Write(usize::try_from(at).unwrap(), bytes);
        state.files.entry(open.name).or_default().pending.push(op);
    }
    result
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let open = open_file(file);
    // SAFETY: the arguments are SQLite's.
    let result = unsafe { open.real.xTruncate.unwrap()(file, size) };
    if result == ffi::SQLITE_OK {
        let op = Op::Truncate(usize::try_from(size).unwrap());
        open.disk.state().files.entry(open.name).or_default().pending.push(op);
    }
    result
}

/// Marks what was written as durable. The real disk is spared: the tests' process does not lose power.
unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let open = open_file(file);
    open.disk.step();
    let mut state = open.disk.state();
    state.syncs += 1;
    if std::mem::take(&mut state.sync_fails) {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let one = state.files.entry(open.name).or_default();
    let mut content = one.synced.take().unwrap_or_default();
    for op in one.pending.drain(..) {
        op.apply(&mut content);
    }
    one.synced = Some(content);
    ffi::SQLITE_OK
}
