//! Reads the files of a project that a test may need.

use pilothouse_sdk::resources::{self, Level};
use pilothouse_sdk::{Failure, log};

use crate::request::ProjectFiles;

/// The folder that tests lie in.
const FOLDER: &str = "jmeter/";
/// The workload file.
const WORKLOAD_FILE: &str = "jmeter/jmeter.conf.yaml";
/// Most bytes of all files together: what a job takes.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads the workload file and everything below `jmeter/`, of the project, the stage, the service and the service in the
/// stage; of two with one path, the nearer. Nothing where the files are not granted, or where there is no project.
///
/// # Errors
/// The host failed.
pub fn files() -> Result<ProjectFiles, Failure> {
    let mut project = ProjectFiles::default();
    let mut bytes = 0_u64;
    for level in [Level::Project, Level::Stage, Level::Service, Level::ServiceInStage] {
        let entries = match resources::entries(level, FOLDER) {
            Ok(entries) => entries,
            Err(resources::Error::Denied(_) | resources::Error::Invalid(_) | resources::Error::NotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            bytes = bytes.saturating_add(entry.size);
            if bytes > BYTES_MAX {
                log::warn!("the files below `{FOLDER}` are over {BYTES_MAX} bytes; `{}` is left out", entry.path);
                continue;
            }
            let content = resources::read(level, &entry.path)?;
            if entry.path == WORKLOAD_FILE {
                project.workload = Some(String::from_utf8_lossy(&content).into_owned());
            } else {
                project.files.insert(entry.path, content);
            }
        }
    }
    Ok(project)
}
