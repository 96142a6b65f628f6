//! Talking to upstreams with the `git` program: its TLS, its SSH and its proxies are what operators know, and a hang or a crash
//! of a transfer is not one of the host. Credentials go by the environment and by files for the owner only, never by the
//! command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::repository::UPSTREAM_REF;
use super::{BRANCH, CommitId};

/// Where the branches of a repository that is taken over are kept.
pub const IMPORT_PREFIX: &str = "refs/pilothouse/import/";
/// Longest time for one transfer.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest time for a connection to be made.
const CONNECT_TIMEOUT_SECONDS: u32 = 20;
/// Most bytes of the program's messages that are looked at.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

/// Where an upstream is, and how the host signs in. Its `Debug` shows no credential.
#[derive(Clone)]
pub struct Remote {
    /// Its address.
    pub url: RemoteUrl,
    /// Its branch.
    pub branch: String,
    /// How to sign in.
    pub credential: RemoteCredential,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).field("branch", &self.branch).finish_non_exhaustive()
    }
}

/// How to sign in to an upstream.
#[derive(Clone)]
pub enum RemoteCredential {
    /// Not at all.
    None,
    /// With a token as the password of this user.
    Token {
        /// The user name; each Git server has its own for tokens.
        user: String,
        /// The token.
        token: String,
    },
    /// With a private key.
    Key {
        /// The key, as OpenSSH writes it.
        key: String,
        /// The server's keys, as `ssh-keyscan` prints them. No other key is accepted.
        known_hosts: String,
    },
}

/// The address of an upstream, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    ssh: bool,
    host: String,
}

impl RemoteUrl {
    /// Checks an address: `https://…`, `http://…` on this machine, `ssh://…` or `user@host:path`.
    ///
    /// # Errors
    /// Anything else, and an address with a password in it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.chars().any(|it| it.is_control() || it.is_whitespace()) || text.starts_with('-') || text.len() > 1_000 {
            return Err("the address of the upstream is not one".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            // user@host:path, as scp has it.
            let host = text.split_once(':').and_then(|(left, path)| (!path.is_empty()).then_some(left));
            let host = host.and_then(|left| left.split_once('@')).map(|(_, host)| host);
            return match host.filter(|host| !host.is_empty() && !host.starts_with('-') && !host.contains('/')) {
                Some(host) => Ok(Self { text: text.to_owned(), ssh: true, host: host.to_owned() }),
                None => Err("write the address of the upstream as https://…, ssh://… or user@host:path".to_owned()),
            };
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host_port) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host).to_owned();
        if host.is_empty() || host.starts_with('-') {
            return Err("the address of the upstream names no host".to_owned());
        }
        let local = ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str());
        let ssh = match scheme {
            "https" => false,
            "http" if local => false,
            "http" => return Err("an upstream by http:// would send the token in the clear; use https://".to_owned()),
            "ssh" => true,
            _ => return Err(format!("an upstream cannot be reached by `{scheme}`; use https or ssh")),
        };
        if user.is_some_and(|user| !ssh || user.contains(':')) {
            return Err("the address of the upstream must not have a user or password in it; store a secret".to_owned());
        }
        Ok(Self { text: text.to_owned(), ssh, host })
    }

    /// Returns the address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether it is reached by SSH.
    pub fn is_ssh(&self) -> bool {
        self.ssh
    }

    /// Returns the user name that goes with a token on the well-known servers; `git` on others.
    pub fn token_user(&self) -> &'static str {
        let host = self.host.to_ascii_lowercase();
        if host.contains("github") {
            "x-access-token"
        } else if host.contains("gitlab") {
            "oauth2"
        } else if host.contains("bitbucket") {
            "x-token-auth"
        } else {
            "git"
        }
    }
}

/// Why a transfer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is no `git` program.
    #[error("the program `git` is not on this machine; install it, upstreams need it")]
    NoProgram,
    /// The server refused the credential, or wants one.
    #[error("the upstream asks for a credential, or refused the one that it got: {0}")]
    SignIn(String),
    /// The server's key is not the known one.
    #[error("the host key of the upstream is not the one that is known: {0}")]
    HostKey(String),
    /// The server cannot be reached, or there is no such repository.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody else pushed in between.
    #[error("the upstream has newer commits")]
    Behind,
    /// The server does not let anybody push to the branch.
    #[error("the upstream refuses pushes to the branch: {0}")]
    Protected(String),
    /// It took too long.
    #[error("the transfer took longer than {} s", TRANSFER_TIMEOUT.as_secs())]
    TimedOut,
    /// Anything else.
    #[error("git failed: {0}")]
    Other(String),
}

impl TransferError {
    /// Tells whether trying again may help without anybody doing something.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Behind | Self::TimedOut | Self::Other(_))
    }
}

/// Fetches the upstream's branch; returns its commit, `None` if it has no such branch yet.
///
/// # Errors
/// [`TransferError`]; the repository is as it was.
pub async fn fetch(repository: &Path, remote: &Remote) -> Result<Option<CommitId>, TransferError> {
    let source = format!("refs/heads/{}", remote.branch);
    let listed = run(repository, remote, &["ls-remote", "--", remote.url.as_str(), &source]).await?;
    let Some(commit) = listed.split_whitespace().next().and_then(CommitId::parse) else { return Ok(None) };
    let refspec = format!("+{source}:{UPSTREAM_REF}");
    run(
        repository,
        remote,
        &["fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--", remote.url.as_str(), &refspec],
    )
    .await?;
    Ok(Some(commit))
}

/// Returns the branch that the upstream's HEAD names; `None` if it names none. The branch of `remote` does not count.
///
/// # Errors
/// [`TransferError`].
pub async fn default_branch(repository: &Path, remote: &Remote) -> Result<Option<String>, TransferError> {
    let listed = run(repository, remote, &["ls-remote", "--symref", "--", remote.url.as_str(), "HEAD"]).await?;
    let head = listed.lines().find_map(|line| line.strip_prefix("ref: refs/heads/"));
    Ok(head.and_then(|line| line.split_whitespace().next()).map(str::to_owned))
}

/// Fetches every branch to below [`IMPORT_PREFIX`], for taking over a repository. The branch of `remote` does not count.
///
/// # Errors
/// [`TransferError`].
pub async fn fetch_all(repository: &Path, remote: &Remote) -> Result<(), TransferError> {
    let refspec = format!("+refs/heads/*:{IMPORT_PREFIX}*");
    run(
        repository,
        remote,
        &["fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--", remote.url.as_str(), &refspec],
    )
    .await
    .map(drop)
}

/// Pushes a commit to a branch of the upstream, without force.
///
/// # Errors
/// [`TransferError::Behind`] if the branch has commits that this one does not follow.
pub async fn push(repository: &Path, remote: &Remote, commit: &CommitId, branch: &str) -> Result<(), TransferError> {
    let refspec = format!("{commit}:refs/heads/{branch}");
    run(repository, remote, &["push", "--porcelain", "--no-verify", "--", remote.url.as_str(), &refspec])
        .await
        .map(drop)
}

/// What of this process's environment counts: where programs are, and how to get out of a company's network.
const VARIABLES: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Git's settings for every transfer.
const SETTINGS: [(&str, &str); 11] = [
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("core.hooksPath", "/dev/null"),
    ("http.followRedirects", "false"),
    ("transfer.fsckObjects", "true"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", BRANCH),
    ("safe.directory", "*"),
];

/// Makes the command of a transfer. Nobody's own configuration counts, and nobody is asked for anything.
fn command(repository: &Path, remote: &Remote, scratch: &Path) -> Result<Command, TransferError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).env_clear();
    command.envs(VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
        .env("HOME", scratch)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "/bin/false")
        .env("LC_ALL", "C");
    let mut settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    match &remote.credential {
        RemoteCredential::None => {}
        RemoteCredential::Token { user, token } => {
            let pair = STANDARD.encode(format!("{user}:{token}"));
            settings
                .push((format!("http.{}.extraHeader", remote.url.as_str()), format!("Authorization: Basic {pair}")));
        }
        RemoteCredential::Key { key, known_hosts } => {
            let key_file = write_private(scratch, "key", key)?;
            let hosts_file = write_private(scratch, "known_hosts", known_hosts)?;
            command.env("GIT_SSH_COMMAND", ssh_command(&key_file, &hosts_file));
        }
    }
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (index, (name, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), name).env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    Ok(command)
}

async fn run(repository: &Path, remote: &Remote, arguments: &[&str]) -> Result<String, TransferError> {
    let scratch = tempfile::tempdir().map_err(|error| TransferError::Other(error.to_string()))?;
    let mut child = command(repository, remote, scratch.path())?
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => TransferError::NoProgram,
            _ => TransferError::Other(error.to_string()),
        })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err) = tokio::join!(text(out), text(err));
        child.wait().await.map(|status| (status, out, err))
    };
    let ended = tokio::time::timeout(TRANSFER_TIMEOUT, work).await.map_err(|_| TransferError::TimedOut)?;
    let (status, out, err) = ended.map_err(|error| TransferError::Other(error.to_string()))?;
    if status.success() { Ok(out) } else { Err(explain(&out, &err)) }
}

fn ssh_command(key: &Path, known_hosts: &Path) -> String {
    format!(
        "ssh -F /dev/null -i '{}' -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes \
         -o UserKnownHostsFile='{}' -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout={CONNECT_TIMEOUT_SECONDS}",
        key.display(),
        known_hosts.display()
    )
}

fn write_private(folder: &Path, name: &str, text: &str) -> Result<PathBuf, TransferError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    // OpenSSH refuses a key without a line's end.
    let written = options.write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if text.ends_with('\n') { Ok(()) } else { file.write_all(b"\n") }
    });
    written.map(|()| path).map_err(|error| TransferError::Other(error.to_string()))
}

async fn text(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes).await;
        // What is beyond is read too, so that the program can end.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Tells from Git's messages what happened. They are in English (`LC_ALL=C`) and have been so for many years.
fn explain(out: &str, err: &str) -> TransferError {
    let all = format!("{out}\n{err}");
    let line = |words: &[&str]| {
        let found = all.lines().find(|line| words.iter().any(|word| line.contains(word)));
        found.map(|line| line.trim().trim_start_matches("fatal: ").chars().take(300).collect::<String>())
    };
    if let Some(line) = line(&[
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "No ED25519 host key",
        "host key is known",
    ]) {
        return TransferError::HostKey(line);
    }
    if let Some(line) = line(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "returned error: 401",
        "returned error: 403",
    ]) {
        return TransferError::SignIn(line);
    }
    if let Some(line) = line(&[
        "protected branch",
        "pre-receive hook declined",
        "hook declined",
        "deny updating",
        "GH006",
        "prohibited by Gerrit",
    ]) {
        return TransferError::Protected(line);
    }
    if line(&["[rejected]", "non-fast-forward", "fetch first", "cannot lock ref", "stale info"]).is_some() {
        return TransferError::Behind;
    }
    if let Some(line) = line(&[
        "Could not resolve",
        "Failed to connect",
        "unable to access",
        "Connection refused",
        "Connection timed out",
        "not found",
        "does not appear to be a git repository",
        "Could not read from remote",
        "hung up",
    ]) {
        return TransferError::Unreachable(line);
    }
    let last = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    TransferError::Other(last.trim().chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_ssh_and_holds_no_password() {
        for (text, ssh) in [
            ("https://git.example.com/shop.git", false),
            ("http://127.0.0.1:8080/shop.git", false),
            ("ssh://git@git.example.com:2222/shop.git", true),
            ("git@git.example.com:team/shop.git", true),
        ] {
            assert_eq!(RemoteUrl::new(text).unwrap().is_ssh(), ssh, "{text}");
        }
        for bad in [
            "http://git.example.com/x",
            "https://user:secret@git.example.com/x",
            "https://user@git.example.com/x",
            "ssh://git:secret@git.example.com/x",
            "file:///etc",
            "ext::sh -c id",
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/x",
            "git@-oProxyCommand=id:x",
            "/srv/git",
            "https:///x",
            "",
        ] {
            assert!(RemoteUrl::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_server_has_its_user_name_for_tokens() {
        for (text, user) in [
            ("https://github.com/a/b", "x-access-token"),
            ("https://gitlab.example.com/a/b", "oauth2"),
            ("https://bitbucket.org/a/b", "x-token-auth"),
            ("https://git.example.com/a/b", "git"),
        ] {
            assert_eq!(RemoteUrl::new(text).unwrap().token_user(), user);
        }
    }

    #[test]
    fn gits_messages_are_understood() {
        let explained = |err: &str| explain("", err);
        assert!(matches!(explained("fatal: Authentication failed for 'https://x/'"), TransferError::SignIn(_)));
        assert!(matches!(
            explained("Host key verification failed.\nfatal: Could not read from remote repository."),
            TransferError::HostKey(_)
        ));
        assert!(matches!(
            explained("fatal: unable to access 'https://x/': Could not resolve host: x"),
            TransferError::Unreachable(_)
        ));
        assert!(matches!(
            explained("remote: error: GH006: Protected branch update failed"),
            TransferError::Protected(_)
        ));
        assert_eq!(explained(" ! [rejected] main -> main (fetch first)"), TransferError::Behind);
        assert_eq!(explained(""), TransferError::Other("it said nothing".to_owned()));
    }

    #[test]
    fn a_remote_does_not_show_its_credential() {
        let credential = RemoteCredential::Token { user: "git".into(), token: "s3cret".into() };
        let remote =
            Remote { url: RemoteUrl::new("https://git.example.com/x").unwrap(), branch: "main".into(), credential };
        assert!(!format!("{remote:?}").contains("s3cret"));
    }
}
