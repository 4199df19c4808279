//! Reads the repository's text files once for all tests.

use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

use crate::source::Source;

/// Every text file of the repository that git does not ignore, or why it could not be read.
pub(crate) fn files() -> &'static Result<Vec<Source>, String> {
    static FILES: OnceLock<Result<Vec<Source>, String>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        load(root).map_err(|error| error.to_string())
    })
}

fn load(root: &Path) -> io::Result<Vec<Source>> {
    let patterns = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut files = Vec::new();
    walk(root, "", &Ignored::parse(&patterns), &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_files(&mut files);
    Ok(files)
}

fn walk(dir: &Path, prefix: &str, ignored: &Ignored, files: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if path == ".git" || ignored.matches(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, files)?;
        } else if kind.is_file() {
            read(&entry.path(), &path, files)?;
        }
    }
    Ok(())
}

/// Adds the file unless it is binary, or has gone since its directory was listed (editors' and other tests'
/// temporary files come and go).
fn read(file: &Path, path: &str, files: &mut Vec<Source>) -> io::Result<()> {
    match fs::read(file) {
        Ok(bytes) => files.extend(String::from_utf8(bytes).ok().map(|text| Source::parse(path, &text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
    }
    Ok(())
}

/// Marks the files of modules that are declared under `#[cfg(test)]`, and of the modules below them.
fn mark_test_files(files: &mut [Source]) {
    let modules: Vec<String> =
        files.iter().filter(|file| file.in_src()).flat_map(Source::test_modules).collect();
    for file in files {
        let rest = modules.iter().find_map(|module| file.path.strip_prefix(module.as_str()));
        if rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/')) {
            file.mark_as_test();
        }
    }
}

/// As much of `.gitignore` as this repository uses: paths from the top, names, and `*` at the beginning.
struct Ignored<'a> {
    patterns: Vec<&'a str>,
}

impl<'a> Ignored<'a> {
    fn parse(text: &'a str) -> Self {
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
        Self { patterns: lines.map(|line| line.trim_end_matches('/')).collect() }
    }

    fn matches(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.patterns.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix),
            None if pattern.contains('/') => pattern.trim_start_matches('/') == path,
            None => *pattern == name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_ignores_is_not_read() {
        let ignored = Ignored::parse("# x\n/target\n/a/.venv\n__pycache__/\n*.tmp\n");
        for path in ["target", "a/.venv", "a/__pycache__", "b/c.tmp"] {
            assert!(ignored.matches(path), "{path}");
        }
        for path in ["src/target", ".venv", "x.tmp.rs", "# x", "src"] {
            assert!(!ignored.matches(path), "{path}");
        }
    }

    #[test]
    fn files_of_test_modules_are_tests() {
        let mut files = [
            Source::parse("src/wire/mod.rs", "mod job; #[cfg(test)] mod tests;"),
            Source::parse("src/wire/tests.rs", "use tokio::x;"),
            Source::parse("src/wire/tests/more.rs", "use tokio::x;"),
            Source::parse("src/wire/testsuite.rs", "use tokio::x;"),
        ];
        mark_test_files(&mut files);
        let found: Vec<_> = files.iter().map(|file| file.uses("tokio").len()).collect();
        assert_eq!(found, [0, 0, 0, 1]);
    }

    #[test]
    fn the_walk_finds_this_file_with_its_own_text() {
        let files = files().as_ref().expect("the tree can be read");
        let this = files.iter().find(|file| file.path.ends_with("tidy/tree.rs")).expect("it is in the tree");
        assert!(this.text.contains("the_walk_finds_this_file"));
        assert!(!files.iter().any(|file| file.path.starts_with(".git/") || file.path.starts_with("target/")));
    }
}
