//! The SQLite engine against everything that a disk, a power cut and a `kill -9` can do.

#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod load;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod versions;
