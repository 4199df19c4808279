//! The thin part that touches the world: which file there is, what it says, and the process's environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::args::ServeArgs;
use super::document::ConfigFile;
use super::report::{ConfigError, ConfigErrors, Source};
use super::resolve::{Resolved, SecretText, resolve};
use super::{Config, keys};
use crate::auth::token_file::{TOKEN_FILE_BYTES, parse_token};

/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES: u64 = 1_048_576;

/// The name of the configuration file.
pub const CONFIG_FILE_NAME: &str = "arcpd.toml";

/// The variables of a process. Holds secrets, hence not printable.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    not_text: Vec<String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.vars.len())
    }
}

impl Environment {
    /// This process's environment.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variables.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(vars: I) -> Self {
        let mut environment = Environment::default();
        for (name, value) in vars {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(environment.vars.insert(name, value)),
                Err(_) => environment.not_text.push(name),
            }
        }
        environment
    }
}

/// A place where the configuration file may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The path.
    pub path: PathBuf,
    /// Why this path: `--config`, `ARCPD_CONFIG` or the place's meaning.
    pub why: &'static str,
}

/// The places in the order in which they are tried, and the one that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The places. A path that was asked for is the only one.
    pub candidates: Vec<Candidate>,
    /// Which of them is used; none when no file is there.
    pub used: Option<usize>,
}

impl Search {
    /// The file that is used.
    pub fn file(&self) -> Option<&Path> {
        self.used.and_then(|index| self.candidates.get(index)).map(|candidate| candidate.path.as_path())
    }
}

/// What loading found.
#[derive(Debug)]
pub struct Loaded {
    /// Where the file was looked for.
    pub search: Search,
    /// The configuration, or what is wrong with it.
    pub outcome: Result<Resolved, ConfigErrors>,
}

/// The places where the file may be: the one asked for, else the usual ones.
pub fn candidates(args: &ServeArgs, environment: &Environment) -> Vec<Candidate> {
    if let Some(path) = &args.config {
        return vec![Candidate { path: path.clone(), why: "--config" }];
    }
    if let Some(path) = environment.get(keys::ENV_CONFIG) {
        return vec![Candidate { path: path.into(), why: keys::ENV_CONFIG }];
    }
    let mut places = vec![Candidate { path: CONFIG_FILE_NAME.into(), why: "the working directory" }];
    let xdg = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = xdg.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".config")));
    if let Some(home) = home {
        places.push(Candidate {
            path: home.join("arcpd").join(CONFIG_FILE_NAME),
            why: "the user's configuration",
        });
    }
    places.push(Candidate {
        path: Path::new("/etc/arcpd").join(CONFIG_FILE_NAME),
        why: "the machine's configuration",
    });
    places
}

/// Finds and reads the file and resolves it with the environment and the command line.
pub fn load(args: &ServeArgs, environment: &Environment) -> Loaded {
    let candidates = candidates(args, environment);
    let asked_for = args.config.is_some() || environment.get(keys::ENV_CONFIG).is_some();
    let used = if asked_for { Some(0) } else { candidates.iter().position(|place| is_there(&place.path)) };
    let search = Search { candidates, used };
    let mut errors: Vec<ConfigError> = Vec::new();
    let file = match search.file().map(read_file) {
        Some(Ok(file)) => Some(file),
        Some(Err(problem)) => {
            let place = if args.config.is_some() {
                Source::Flag("--config".into())
            } else if asked_for {
                Source::Env(keys::ENV_CONFIG.into())
            } else {
                Source::Default
            };
            errors.push(ConfigError { place, problem });
            None
        }
        None => None,
    };
    for name in environment.not_text.iter().filter(|name| name.starts_with(keys::ENV_PREFIX)) {
        errors
            .push(ConfigError { place: Source::Env(name.clone()), problem: "the value is not UTF-8".into() });
    }
    let resolved = resolve(&Config::default(), file.as_ref(), &environment.vars, args, &read_secret);
    let outcome = match resolved {
        Ok(resolved) if errors.is_empty() => Ok(resolved),
        Ok(_) => Err(ConfigErrors(errors)),
        Err(ConfigErrors(more)) => {
            errors.extend(more);
            Err(ConfigErrors(errors))
        }
    };
    Loaded { search, outcome }
}

/// Whether something is at a path. What cannot be looked at counts: skipping it would use another file in silence.
fn is_there(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, String> {
    let bytes = read_bounded(path, CONFIG_FILE_BYTES)?.0;
    let shown = path.display();
    let text =
        String::from_utf8(bytes).map_err(|_| format!("the configuration file {shown} is not UTF-8"))?;
    Ok(ConfigFile { path: path.into(), text })
}

/// Reads a token's file. Other than the daemon's own token file it may be a link, as mounted secrets are.
fn read_secret(path: &Path) -> Result<SecretText, String> {
    let (bytes, mode) = read_bounded(path, TOKEN_FILE_BYTES)?;
    let token = parse_token(bytes).map_err(|why| format!("{} holds no token: {why}", path.display()))?;
    Ok(SecretText { token, exposed: mode & 0o077 != 0 })
}

/// A file's bytes and its permissions.
fn read_bounded(path: &Path, limit: u64) -> Result<(Vec<u8>, u32), String> {
    let fail = |error| format!("cannot read {}: {error}", path.display());
    // Looked at before it is opened: a pipe would keep the daemon waiting for a writer.
    let found = fs::metadata(path).map_err(fail)?;
    if !found.is_file() && !is_null(&found) {
        return Err(format!("cannot read {}: it is no regular file", path.display()));
    }
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.mode();
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
        return Err(format!("{} is longer than {limit} bytes", path.display()));
    }
    Ok((bytes, mode))
}

/// Whether it is `/dev/null`, which is how to name no file at all.
fn is_null(found: &Metadata) -> bool {
    found.file_type().is_char_device()
        && fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == found.rdev())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_flag_then_a_variable_then_the_usual_places_name_the_file() {
        let vars = [("ARCPD_CONFIG", "/env.toml"), ("HOME", "/h")];
        let environment: Environment = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let paths = |args: &ServeArgs, environment| -> Vec<PathBuf> {
            candidates(args, environment).into_iter().map(|place| place.path).collect()
        };
        let flag = ServeArgs { config: Some("/flag.toml".into()), ..ServeArgs::default() };
        assert_eq!(paths(&flag, &environment), [Path::new("/flag.toml")]);
        assert_eq!(paths(&ServeArgs::default(), &environment), [Path::new("/env.toml")]);
        let usual = paths(&ServeArgs::default(), &Environment::default());
        assert_eq!(usual, [Path::new("arcpd.toml"), Path::new("/etc/arcpd/arcpd.toml")]);
    }

    #[test]
    fn mounted_secrets_are_read_and_open_ones_get_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("..data");
        fs::write(&real, "tok-c\n").unwrap();
        symlink(&real, directory.path().join("carol")).unwrap();
        let config = directory.path().join("arcpd.toml");
        fs::write(&config, "[[auth.tokens]]\nname = \"carol\"\ntoken_file = \"carol\"\n").unwrap();
        let args = ServeArgs { config: Some(config), ..ServeArgs::default() };
        for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
            fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
            let resolved = load(&args, &Environment::default()).outcome.unwrap();
            assert_eq!(resolved.config.tokens[0].hash, crate::auth::hash("tok-c"));
            assert_eq!(resolved.warnings.len(), warnings, "{:?}", resolved.warnings);
        }
        fs::write(&real, "two\ntok-c\n").unwrap();
        let errors = load(&args, &Environment::default()).outcome.unwrap_err().to_string();
        assert!(errors.contains("more than one line") && !errors.contains("tok-c"), "{errors}");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let [pipe, link, config] = ["pipe", "link", "arcpd.toml"].map(|name| directory.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink(&pipe, &link).unwrap();
        fs::write(&config, "[[auth.tokens]]\nname = \"carol\"\ntoken_file = \"link\"\n").unwrap();
        let refused = |config: &Path| {
            let args = ServeArgs { config: Some(config.into()), ..ServeArgs::default() };
            load(&args, &Environment::default()).outcome.unwrap_err().to_string()
        };
        for (config, named) in [(&pipe, &pipe), (&link, &link), (&config, &link)] {
            let expected = format!("cannot read {}: it is no regular file", named.display());
            let errors = refused(config);
            assert!(errors.contains(&expected), "{errors}");
        }
        let null = ServeArgs { config: Some("/dev/null".into()), ..ServeArgs::default() };
        assert!(load(&null, &Environment::default()).outcome.is_ok(), "no configuration at all");
    }

    #[test]
    fn variables_that_are_no_text_are_refused_where_they_matter() {
        let broken = || OsString::from_vec(vec![0xff]);
        let vars = [("ARCPD_LISTEN".into(), broken()), ("OTHER".into(), broken())];
        let environment = vars.into_iter().collect();
        let errors = load(&ServeArgs::default(), &environment).outcome.unwrap_err();
        assert_eq!(errors.to_string(), "env ARCPD_LISTEN: the value is not UTF-8");
        assert!(!format!("{environment:?}").contains("ARCPD"));
    }
}
