//! The token that the daemon makes for its own user when none is configured, and the file that keeps it.
//!
//! The file is the one place where a token is kept in plain, so that a command on the same machine can read it: only
//! its owner may (mode 0600, in a directory that nobody else can write), and symbolic links are not followed, which
//! would let somebody else choose what is read or written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Principal, Role, TokenEntry, hash};
use crate::wire::session::Token;

/// The subject of the token that the daemon makes.
pub const LOCAL_SUBJECT: &str = "local";

/// What every token made here begins with, so that it is recognised where it leaks.
pub const TOKEN_PREFIX: &str = "arcp_";

/// Bytes of a file that holds a token.
pub const TOKEN_FILE_BYTES: u64 = 4_096;

/// Why a token file cannot be used. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// Reading, writing or making it failed.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is a link, a directory or something else that is no regular file.
    #[error("the token file {} is not a regular file (symbolic links are not followed)", .0.display())]
    NotAFile(PathBuf),
    /// Others than the owner may use the file.
    #[error(
        "the token file {} can be used by others than its owner (mode {mode:04o}); run: chmod 600 {}",
        path.display(),
        shell_word(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others than the owner may put another file in its place.
    #[error(
        "others than its owner can replace files in {} (mode {mode:04o}); run: chmod go-w {}",
        path.display(),
        shell_word(path)
    )]
    ExposedDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no token.
    #[error(
        "the token file {} holds no token: {why}; write one line, or remove the file and a new one is made",
        path.display()
    )]
    NoToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The token of the daemon's own user.
#[derive(Debug)]
pub struct FirstToken {
    /// The token.
    pub token: Token,
    /// The file that keeps it.
    pub path: PathBuf,
    /// Whether it was made just now.
    pub new: bool,
}

impl FirstToken {
    /// The entry by which the token is accepted: it stands for the principal `local`, who operates the daemon. Whoever
    /// can read the file is the user that the daemon runs as.
    pub fn entry(&self) -> TokenEntry {
        let roles = [Role::Operator].into();
        TokenEntry { principal: Principal::local(), roles, dialect: None, hash: hash(self.token.expose()) }
    }
}

/// Reads the token in `path`, or makes one of 256 random bits and keeps it there.
///
/// # Errors
/// [`TokenFileError`] when the file cannot be read or made, or is not safe.
pub fn first_token(path: &Path, random: impl FnOnce(&mut [u8; 32])) -> Result<FirstToken, TokenFileError> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(FirstToken { token: read_token_file(path)?, path: path.into(), new: false });
    }
    let mut bits = [0; 32];
    random(&mut bits);
    let token = Token::new(format!("{TOKEN_PREFIX}{}", hex::encode(bits)));
    let new = publish(path, &token)?;
    // Another process may have been faster; then its token counts.
    let token = if new { token } else { read_token_file(path)? };
    Ok(FirstToken { token, path: path.into(), new })
}

/// Reads a token that [`first_token`] or a person has put into a file.
///
/// # Errors
/// [`TokenFileError`] when it cannot be read, is not safe or holds no token.
pub fn read_token_file(path: &Path) -> Result<Token, TokenFileError> {
    let fail = |doing| move |error| TokenFileError::Io { doing, path: path.into(), error };
    let named = fs::symlink_metadata(path).map_err(fail("read the token file"))?;
    if !named.is_file() {
        return Err(TokenFileError::NotAFile(path.into()));
    }
    check_directory(directory_of(path))?;
    let file = File::open(path).map_err(fail("read the token file"))?;
    let opened = file.metadata().map_err(fail("read the token file"))?;
    // Between the look and the opening a link may have been put there; then it is another file that was opened.
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(TokenFileError::NotAFile(path.into()));
    }
    let mode = opened.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TokenFileError::Exposed { path: path.into(), mode });
    }
    let mut text = Vec::new();
    file.take(TOKEN_FILE_BYTES + 1).read_to_end(&mut text).map_err(fail("read the token file"))?;
    parse_token(text).map_err(|why| TokenFileError::NoToken { path: path.into(), why })
}

/// The token in a file's bytes: one line, without blanks.
///
/// # Errors
/// What is wrong with it, as a text without the token.
pub fn parse_token(bytes: Vec<u8>) -> Result<Token, &'static str> {
    if u64::try_from(bytes.len()).is_ok_and(|len| len > TOKEN_FILE_BYTES) {
        return Err("it is longer than 4096 bytes");
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let token = text.trim();
    if token.is_empty() {
        return Err("it is empty");
    }
    if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it has more than one line or word");
    }
    Ok(Token::new(token))
}

/// Puts a new file in place in one step: nobody ever sees it half written. Says whether it was this one.
fn publish(path: &Path, token: &Token) -> Result<bool, TokenFileError> {
    let directory = directory_of(path);
    let fail = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |error| TokenFileError::Io { doing, path, error }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(fail("make the directory", directory))?;
    check_directory(directory)?;
    // Named after the token's hash: no leftover of a crash is in the way.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", hex::encode(&hash(token.expose()).as_bytes()[..8])));
    let draft = PathBuf::from(draft);
    let written = write_new(&draft, token).map_err(fail("write the token file", &draft));
    // A link to a taken name is refused, so this cannot replace anybody's token.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(fail("write the token file", path)(error)),
    });
    let removed = fs::remove_file(&draft).map_err(fail("remove", &draft));
    linked.and_then(|new| removed.map(|()| new))
}

fn write_new(path: &Path, token: &Token) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", token.expose())?;
    file.sync_all()
}

fn check_directory(directory: &Path) -> Result<(), TokenFileError> {
    let found = fs::metadata(directory).map_err(|error| TokenFileError::Io {
        doing: "look at",
        path: directory.into(),
        error,
    })?;
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TokenFileError::ExposedDirectory { path: directory.into(), mode });
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A path as one word of a shell command.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-');
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::auth::Authenticator;

    fn private_directory() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_first_token_is_made_private_and_used_again() {
        let directory = private_directory();
        let path = directory.path().join("state/arcpd/token");
        let first = first_token(&path, |bits| bits.fill(0xab)).unwrap();
        assert!(first.new);
        assert_eq!(first.token.expose(), format!("arcp_{}", "ab".repeat(32)));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");

        let again = first_token(&path, |_| panic!("a token is there")).unwrap();
        assert!(!again.new);
        assert_eq!(again.token.expose(), first.token.expose());
        assert_eq!(read_token_file(&path).unwrap().expose(), first.token.expose());

        let auth = Authenticator::new(vec![again.entry()]);
        let caller = auth.authenticate("bearer", &first.token).unwrap();
        assert_eq!((caller.principal.subject(), caller.roles), ("local", [Role::Operator].into()));
        assert!(!format!("{first:?}").contains("abab"));
    }

    #[test]
    fn what_others_can_read_or_replace_is_refused_with_the_command_to_run() {
        let directory = private_directory();
        let path = directory.path().join("it's a token");
        first_token(&path, |bits| bits.fill(1)).unwrap();
        chmod(&path, 0o640);
        let text = read_token_file(&path).unwrap_err().to_string();
        assert!(
            text.contains("0640") && text.contains(r"chmod 600 '") && text.contains(r"it'\''s"),
            "{text}"
        );
        chmod(&path, 0o600);
        chmod(directory.path(), 0o777);
        let text = first_token(&path, |_| ()).unwrap_err().to_string();
        assert!(text.contains("chmod go-w"), "{text}");
        let text = first_token(&directory.path().join("other"), |_| ()).unwrap_err().to_string();
        assert!(text.contains("chmod go-w"), "{text}");
        assert!(!directory.path().join("other").exists());
    }

    #[test]
    fn links_are_not_followed() {
        let directory = private_directory();
        let real = directory.path().join("real");
        first_token(&real, |bits| bits.fill(1)).unwrap();
        let link = directory.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(first_token(&link, |_| ()), Err(TokenFileError::NotAFile(_))));
        let dangling = directory.path().join("dangling");
        symlink(directory.path().join("nowhere"), &dangling).unwrap();
        assert!(matches!(first_token(&dangling, |_| ()), Err(TokenFileError::NotAFile(_))));
        assert!(!directory.path().join("nowhere").exists());
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let directory = private_directory();
        let path = directory.path().join("token");
        for wrong in [&b""[..], b"\n", b"two words", b"two\nlines", b"\xff\xfe", &[b'a'; 4097]] {
            fs::write(&path, wrong).unwrap();
            chmod(&path, 0o600);
            assert!(matches!(read_token_file(&path), Err(TokenFileError::NoToken { .. })));
        }
        fs::write(&path, "mine\n").unwrap();
        assert_eq!(read_token_file(&path).unwrap().expose(), "mine");
    }

    #[test]
    fn of_two_that_make_the_file_at_once_one_wins() {
        let directory = private_directory();
        let path = directory.path().join("token");
        // The other one finishes while this one is still drawing its bits.
        let slow = first_token(&path, |bits| {
            bits.fill(1);
            fs::write(&path, "theirs\n").unwrap();
            chmod(&path, 0o600);
        });
        let slow = slow.unwrap();
        assert!(!slow.new);
        assert_eq!(slow.token.expose(), "theirs");
    }
}
