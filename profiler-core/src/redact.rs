//! Hiding what names people and machines: paths, user names, host names.
//!
//! Every text that leaves the crate for a redacted output goes through one [`Redactor`]. Tokens
//! are numbered in order of first appearance in the snapshot, so the same file gives the same
//! tokens and two frames of one directory still look alike.

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{RunContext, Snapshot};

/// Replaces directories by `dir-1`, `dir-2`, …, user names by `user-1`, … and host names by
/// `host-1`, …; file names, function names and the public part of library paths stay.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    directories: HashMap<String, usize, FixedState>,
    /// Words to hide wherever they stand, longest first.
    users: Vec<String>,
    hosts: HashMap<String, usize, FixedState>,
    /// Host names told as such, hidden wherever they stand: they need not look like one.
    known_hosts: Vec<String>,
}

/// Path parts after which the name of the user's own directory follows.
const HOME_PARENTS: [&str; 3] = ["home", "Users", "users"];

/// Names that stand where user names do and are nobody's.
const COMMON_USERS: [&str; 8] = [
    "root", "user", "ubuntu", "runner", "Public", "Default", "admin", "conda",
];

/// Packages everyone has: the path below them says nothing about the user.
const PUBLIC_PACKAGES: [&str; 12] = [
    "torch",
    "torchvision",
    "torchaudio",
    "torchgen",
    "triton",
    "numpy",
    "transformers",
    "accelerate",
    "diffusers",
    "lightning",
    "pytorch_lightning",
    "deepspeed",
];

/// Endings that make a dotted word a host name and not a Python module.
const HOST_ENDINGS: [&str; 16] = [
    "com",
    "org",
    "net",
    "edu",
    "gov",
    "io",
    "internal",
    "local",
    "localdomain",
    "lan",
    "corp",
    "intra",
    "cluster",
    "cloud",
    "dev",
    "home",
];

impl Redactor {
    /// A redactor for the texts of `snapshot`.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut redactor = Self::default();
        let mut users = BTreeSet::new();
        let conf = snapshot
            .settings
            .iter()
            .map(|settings| settings.conf.as_str());
        let entries = snapshot
            .settings
            .iter()
            .flat_map(|settings| &settings.entries);
        let texts = snapshot.strings.iter().map(|(_, text)| text);
        let texts = texts
            .chain(conf)
            .chain(entries.map(|(_, value)| value.as_str()))
            .chain(snapshot.context.iter().flat_map(|context| told(context)));
        let hosts = snapshot
            .context
            .iter()
            .filter_map(|one| one.run.host.as_deref());
        for host in hosts.filter(|host| host.chars().count() > 1) {
            redactor.hosts.insert(host.to_owned(), 1);
            redactor.known_hosts.push(host.to_owned());
        }
        for text in texts {
            for word in words(text) {
                redactor.learn(word, &mut users);
            }
        }
        redactor.users = users.into_iter().collect();
        redactor
            .users
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        redactor
    }

    /// Hides `name` (a host or user name known from elsewhere) wherever it stands.
    pub fn hide(&mut self, name: &str) {
        if name.chars().count() > 1 && !self.users.iter().any(|known| known == name) {
            self.users.push(name.to_owned());
        }
    }

    /// A host's name, or any other text in a place that tells a host.
    #[must_use]
    pub fn host(&self, host: &str) -> String {
        let known = self.hosts.get(host);
        known.map_or_else(|| "host".to_owned(), |n| format!("host-{n}"))
    }

    /// `text` with every path, user name and host name in it replaced.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let start = rest.find(is_word).unwrap_or(rest.len());
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            out.push_str(&self.word(&rest[..end]));
            rest = &rest[end..];
        }
        out
    }

    /// A file's path: `dir-3/train.py`, or from the package on for well-known libraries.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        // Spaces are part of a path here, while in a text they end it.
        let is_path = path.contains(['/', '\\']);
        if is_path {
            self.whole_path(path)
        } else {
            self.text(path)
        }
    }

    fn learn(&mut self, word: &str, users: &mut BTreeSet<String>) {
        if let Some(host) = host_of(word) {
            let next = self.hosts.len() + 1;
            self.hosts.entry(host.to_owned()).or_insert(next);
        }
        if let Some((user, _)) = word.split_once('@')
            && is_name(user)
        {
            users.insert(user.to_owned());
        }
        if !is_path(word) {
            return;
        }
        let (directory, _) = split_path(word);
        if public_tail(word).is_none() && !directory.is_empty() {
            let next = self.directories.len() + 1;
            self.directories.entry(directory.to_owned()).or_insert(next);
        }
        let parts: Vec<&str> = word.split(['/', '\\']).collect();
        for pair in parts.windows(2) {
            if let [parent, user] = pair
                && HOME_PARENTS.contains(parent)
                && is_name(user)
                && !COMMON_USERS.contains(user)
            {
                users.insert((*user).to_owned());
            }
        }
    }

    fn word(&self, word: &str) -> String {
        if let Some(host) = host_of(word) {
            let token = self
                .hosts
                .get(host)
                .map_or_else(|| "host".to_owned(), |n| format!("host-{n}"));
            let (before, after) = word.split_once(host).unwrap_or(("", ""));
            return self.names(before) + &token + &self.plain(after);
        }
        self.plain(word)
    }

    fn plain(&self, word: &str) -> String {
        if is_path(word) {
            self.whole_path(word)
        } else {
            self.names(word)
        }
    }

    fn whole_path(&self, path: &str) -> String {
        if let Some(tail) = public_tail(path) {
            return self.names(tail);
        }
        let (directory, name) = split_path(path);
        let name = self.names(name);
        if directory.is_empty() {
            return name;
        }
        match self.directories.get(directory) {
            Some(n) => format!("dir-{n}/{name}"),
            None => format!("dir/{name}"),
        }
    }

    /// `text` without user names.
    fn names(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for host in &self.known_hosts {
            if out.contains(host.as_str()) {
                out = out.replace(host.as_str(), &self.host(host));
            }
        }
        for (number, user) in self.users.iter().enumerate() {
            if out.contains(user.as_str()) {
                out = out.replace(user.as_str(), &format!("user-{}", number + 1));
            }
        }
        out
    }
}

/// The texts of a run that may hold paths and names.
fn told(context: &RunContext) -> impl Iterator<Item = &str> {
    let run = &context.run;
    let failure = context.failure.iter();
    let texts = failure.flat_map(|one| one.python_stack.iter().chain(&one.message));
    let texts = texts.chain(&run.argv).chain(run.environment.values());
    texts.map(String::as_str)
}

/// The runs of `text` that could be a path, an address or a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '"' | '\'' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '=' | '|'
        )
}

/// Whether `word` is a path and not, say, `a/b` in prose or `grad/param` in an annotation: it
/// starts at a root or ends in a file name.
fn is_path(word: &str) -> bool {
    let Some(last) = word.rfind(['/', '\\']) else {
        return false;
    };
    let rooted = word.starts_with(['/', '\\', '~', '.'])
        || word.get(1..3) == Some(":\\")
        || word.get(1..3) == Some(":/");
    rooted || word[last..].contains('.') || word.matches(['/', '\\']).count() > 1
}

fn split_path(path: &str) -> (&str, &str) {
    path.rfind(['/', '\\'])
        .map_or(("", path), |at| (&path[..at], &path[at + 1..]))
}

/// The part of a library's path that is the same on every machine.
fn public_tail(path: &str) -> Option<&str> {
    for marker in ["site-packages/", "dist-packages/", "site-packages\\"] {
        if let Some(at) = path.rfind(marker) {
            let tail = &path[at + marker.len()..];
            let package = tail.split(['/', '\\']).next().unwrap_or("");
            return PUBLIC_PACKAGES.contains(&package).then_some(tail);
        }
    }
    // The standard library: lib/python3.12/threading.py.
    let at = path.rfind("lib/python3.")?;
    let tail = &path[at + "lib/".len()..];
    (tail.matches('/').count() <= 2).then_some(tail)
}

fn is_name(word: &str) -> bool {
    word.chars().count() > 1
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The host that `word` names: of a URL, after an `@`, an IPv4 address, or a dotted name with an
/// ending only hosts have.
fn host_of(word: &str) -> Option<&str> {
    let after_scheme = word.split_once("://").map(|(_, rest)| rest);
    let after_user = word.split_once('@').map(|(_, rest)| rest);
    let candidate = after_scheme.or(after_user).unwrap_or(word);
    let host = candidate.split(['/', ':', '?', '#']).next().unwrap_or("");
    let known_place = (after_scheme.is_some() || after_user.is_some()) && is_name(host);
    (known_place || is_ipv4(host) || is_dotted_host(host)).then_some(host)
}

fn is_ipv4(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

fn is_dotted_host(word: &str) -> bool {
    let Some((start, ending)) = word.rsplit_once('.') else {
        return false;
    };
    is_name(start) && HOST_ENDINGS.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(texts: &[&str]) -> Redactor {
        let mut snapshot = Snapshot::default();
        for text in texts {
            snapshot.strings.intern(text);
        }
        Redactor::new(&snapshot)
    }

    #[test]
    fn directories_become_tokens() {
        let texts = [
            "/home/alice/secret-llm/train.py",
            "/home/alice/secret-llm/model.py",
            "/opt/x/run.py",
        ];
        let redactor = redactor(&texts);
        assert_eq!(redactor.path(texts[0]), "dir-1/train.py");
        assert_eq!(redactor.path(texts[1]), "dir-1/model.py");
        assert_eq!(redactor.path(texts[2]), "dir-2/run.py");
        assert_eq!(redactor.path("C:\\Users\\alice\\x.py"), "dir/x.py");
    }

    #[test]
    fn library_paths_keep_their_public_part() {
        let torch = "/home/alice/venv/lib/python3.12/site-packages/torch/nn/modules/linear.py";
        let own = "/home/alice/venv/lib/python3.12/site-packages/acme_llm/core.py";
        let standard = "/usr/lib/python3.12/threading.py";
        let redactor = redactor(&[torch, own, standard]);
        assert_eq!(redactor.path(torch), "torch/nn/modules/linear.py");
        assert_eq!(redactor.path(own), "dir-1/core.py");
        assert_eq!(redactor.path(standard), "python3.12/threading.py");
    }

    #[test]
    fn free_text_is_searched() {
        let text = "save to /data/alice/ckpt.pt on alice@gpu7.acme.internal (10.1.2.3)";
        let redactor = redactor(&["/home/alice/a.py", text]);
        let hidden = redactor.text(text);
        for leak in ["alice", "/data", "gpu7", "acme", "10.1.2.3"] {
            assert!(!hidden.contains(leak), "{leak} in {hidden}");
        }
        assert!(hidden.contains("ckpt.pt"), "{hidden}");
    }

    #[test]
    fn names_of_code_stay() {
        let redactor = redactor(&["/home/alice/a.py"]);
        for text in [
            "blocks.3.attn",
            "torch.nn.Linear",
            "ProfilerStep#12",
            "at::native::add",
            "a/b",
            "{\"phase\": \"forward\"}",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn known_names_can_be_added() {
        let mut redactor = Redactor::default();
        redactor.hide("node-17");
        assert_eq!(redactor.text("rank 3 on node-17"), "rank 3 on user-1");
    }
}
