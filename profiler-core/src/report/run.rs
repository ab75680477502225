//! The run as its recorder told it: what ran where, with which settings.

use crate::oom::OomContext;
use crate::redact::Redactor;
use crate::snapshot::{RunFacts, Snapshot};
use crate::units;

use super::text::shorten;

/// A name and what is told of it.
pub(super) type Row = (String, String);

/// The section on the run.
pub(super) struct RunView {
    pub(super) facts: Vec<Row>,
    /// Environment variables.
    pub(super) environment: Vec<Row>,
}

/// A failure that no event of the file is of.
pub(super) struct ElsewhereView {
    /// What happened, in a sentence.
    pub(super) lead: String,
    pub(super) told: ToldView,
}

/// What a recorder told of a failure.
#[derive(Default)]
pub(super) struct ToldView {
    pub(super) rows: Vec<Row>,
    /// The whole Python stack of the error, innermost first.
    pub(super) stack: Vec<String>,
}

/// Texts of the run, as the page may show them.
pub(super) struct RunTexts<'a> {
    pub(super) redactor: Option<&'a Redactor>,
}

impl RunTexts<'_> {
    fn shown(&self, text: &str) -> String {
        let text = self
            .redactor
            .map_or_else(|| text.to_owned(), |redactor| redactor.text(text));
        shorten(text)
    }

    /// `file:line function`. Paths may have blanks, which end them in free text.
    fn frame(&self, frame: &str) -> String {
        let Some(redactor) = self.redactor else {
            return shorten(frame.to_owned());
        };
        let parts = frame.rsplit_once(':').and_then(|(path, rest)| {
            let (line, function) = rest.split_once(' ')?;
            line.parse::<u64>().ok()?;
            Some((path, line, function))
        });
        shorten(match parts {
            Some((path, line, function)) => {
                format!("{}:{line} {}", redactor.path(path), redactor.text(function))
            }
            None => redactor.text(frame),
        })
    }

    /// The program with its arguments. Arguments may hold anything, so a redacted page has only
    /// their number.
    fn program(&self, argv: &[String]) -> String {
        match (self.redactor, argv.split_first()) {
            (Some(redactor), Some((program, rest))) => {
                let program = redactor.path(program);
                let hidden = match rest.len() {
                    0 => String::new(),
                    1 => " and 1 argument, hidden".to_owned(),
                    many => format!(" and {many} arguments, hidden"),
                };
                shorten(format!("{program}{hidden}"))
            }
            _ => shorten(argv.join(" ")),
        }
    }

    /// What is told of a failure.
    pub(super) fn failure(&self, context: &OomContext) -> ToldView {
        let rows = context.rows().into_iter();
        let rows = rows.map(|(name, text)| {
            let text = if name == "line" {
                self.frame(&text)
            } else {
                self.shown(&text)
            };
            (name.to_owned(), text)
        });
        let frames = context.python_stack.iter();
        ToldView {
            rows: rows.collect(),
            stack: frames.map(|frame| self.frame(frame)).collect(),
        }
    }

    /// The failure that no event of `snapshot` is of, if one is told.
    pub(super) fn elsewhere(&self, snapshot: &Snapshot) -> Option<ElsewhereView> {
        let (context, failure) = OomContext::elsewhere(snapshot)?;
        let lead = match (&failure.message, failure.driver_request_bytes) {
            (Some(message), _) => self.shown(message),
            (None, Some(bytes)) => format!(
                "{} were asked of the driver and not given.",
                units::bytes(bytes)
            ),
            (None, None) => "The recorder was told of an out-of-memory error.".to_owned(),
        };
        Some(ElsewhereView {
            lead,
            told: self.failure(&context),
        })
    }

    /// The section; None where nothing is told.
    pub(super) fn run(&self, snapshot: &Snapshot) -> Option<RunView> {
        let context = snapshot.context.as_deref()?;
        let run = &context.run;
        if run.is_empty() && context.rank.is_none() {
            return None;
        }
        let mut facts: Vec<Row> = Vec::new();
        let mut add = |name: &str, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty());
            facts.extend(text.map(|text| (name.to_owned(), text)));
        };
        add("program", Some(self.program(&run.argv)));
        let host = run.host.as_deref().map(|host| match self.redactor {
            Some(redactor) => redactor.host(host),
            None => shorten(host.to_owned()),
        });
        add("host", host);
        add("process", run.process.map(|process| process.to_string()));
        add("rank", context.rank.map(|rank| rank.to_string()));
        add("versions", Some(self.versions(run)));
        add(
            "system",
            run.platform.as_deref().map(|text| self.shown(text)),
        );
        for device in &run.devices {
            let name = device.name.as_deref().map(|name| self.shown(name));
            let total = device.total_bytes.map(units::bytes);
            let both: Vec<String> = name.into_iter().chain(total).collect();
            add(&format!("GPU {}", device.device), Some(both.join(", ")));
        }
        let environment = run.environment.iter();
        let environment = environment
            .map(|(name, value)| (self.shown(name), self.shown(value)))
            .collect();
        Some(RunView { facts, environment })
    }

    fn versions(&self, run: &RunFacts) -> String {
        let named = [
            ("PyTorch", &run.torch),
            ("CUDA", &run.cuda),
            ("ROCm", &run.hip),
            ("Python", &run.python),
            ("gpumemprof", &run.gpumemprof),
        ];
        let known = named.into_iter().filter_map(|(name, version)| {
            let version = version.as_deref()?;
            Some(format!("{name} {}", self.shown(version)))
        });
        known.collect::<Vec<String>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{ReportOptions, synthetic};
    use crate::snapshot::{
        FailedInputs, Outcome, Pass, RunContext, RunDevice, RunFacts, RunFailure, RunPlace,
        Snapshot,
    };

    fn page(snapshot: &Snapshot, redact: bool) -> String {
        let options = ReportOptions {
            redact,
            ..ReportOptions::default()
        };
        synthetic::page(snapshot, &options)
    }

    fn told(message: &str) -> Snapshot {
        let mut snapshot = synthetic::recording(200, 10, 5);
        let text = |text: &str| Some(text.to_owned());
        snapshot.context = Some(Box::new(RunContext {
            run: RunFacts {
                torch: text("2.15.0+cu130"),
                python: text("3.12.1"),
                host: text("gpu-node-17"),
                process: Some(4711),
                argv: vec![
                    "/home/alice/secret project/train.py".to_owned(),
                    "--token=hunter2".to_owned(),
                ],
                environment: [(
                    "RANK".to_owned(),
                    "/scratch/alice/x on gpu-node-17".to_owned(),
                )]
                .into(),
                devices: vec![RunDevice {
                    device: 0,
                    name: text("NVIDIA <b>H100</b>"),
                    total_bytes: Some(80 << 30),
                }],
                ..RunFacts::default()
            },
            rank: Some(3),
            current: RunPlace {
                module: text("blocks.3<script>"),
                phase: text("forward"),
                step: Some(7),
                micro_batch: None,
            },
            batches: Vec::new(),
            failure: Some(RunFailure {
                outcome: Outcome::Raised,
                inputs: Some(FailedInputs {
                    is_training: true,
                    passes: vec![Pass {
                        module: None,
                        inputs: vec!["ids (8, 512)int64".to_owned()],
                    }],
                }),
                message: text(message),
                python_stack: vec![
                    "/home/alice/secret project/train.py:12 step".to_owned(),
                    "/home/alice/secret project/main.py:3 <module>".to_owned(),
                ],
                ..RunFailure::default()
            }),
        }));
        snapshot
    }

    #[test]
    fn the_page_says_what_the_recorder_told() {
        let snapshot = told("NCCL error <i>2</i>");
        let page = page(&snapshot, false);
        for expected in [
            "NCCL error &#60;i&#62;2",
            "blocks.3&#60;script&#62;",
            "ids (8, 512)int64",
            "raised: the error ended the program",
            "gpu-node-17",
            "4711",
            "PyTorch 2.15.0+cu130, Python 3.12.1",
            "NVIDIA &#60;b&#62;H100&#60;/b&#62;, 80.00 GiB",
            "--token=hunter2",
            "id=\"run\"",
            "Python stack of the error, 2 frames",
            "main.py:3 &#60;module&#62;",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("blocks.3<script>") && !page.contains("<b>H100"));
    }

    #[test]
    fn a_redacted_page_names_nobody() {
        let page = page(&told("in /home/alice/secret/data.bin on gpu-node-17"), true);
        for leak in [
            "alice",
            "secret",
            "hunter2",
            "gpu-node-17",
            "/scratch",
            "/home",
        ] {
            assert!(!page.contains(leak), "{leak}");
        }
        for expected in [
            "train.py and 1 argument, hidden",
            "train.py:12 step",
            "blocks.3",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn without_a_recorder_there_is_no_such_section() {
        let snapshot = synthetic::recording(200, 10, 5);
        assert!(!page(&snapshot, false).contains("id=\"run\""));
    }
}
