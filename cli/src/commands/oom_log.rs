//! `gpumemprof oom LOG`: what the out-of-memory messages of a log allow to be said.

use profiler_core::oom::{Amount, OomMessage};
use profiler_core::units;
use serde::Serialize;

use crate::args::OomArguments;
use crate::output::Align;
use crate::{CommandError, output};

/// The JSON form, schema `gpumemprof.oom-messages/1`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    file: String,
    messages: Vec<Row>,
}

/// One message with what it allows.
#[derive(Serialize)]
struct Row {
    class: profiler_core::oom::MessageClass,
    title: &'static str,
    outside_pytorch: Option<Amount>,
    reserved_unused: Option<Amount>,
    /// What counts against the limit, what was asked for included.
    held_and_requested: Option<Amount>,
    #[serde(flatten)]
    message: OomMessage,
}

/// How many different messages are printed in full.
const SHOWN: usize = 20;

/// Prints the verdicts on `messages`, which are not empty.
pub(super) fn run(arguments: &OomArguments, messages: Vec<OomMessage>) -> Result<(), CommandError> {
    let file = arguments.input.file.display().to_string();
    if arguments.device_total.is_some() {
        output::warn_text(
            "--device-total is not used: what can be said of a log comes from its messages alone",
        );
    }
    let rows: Vec<Row> = messages.into_iter().map(judge).collect();
    if arguments.json {
        return output::json(&Report {
            schema: "gpumemprof.oom-messages/1",
            file,
            messages: rows,
        });
    }
    output::heading(&format!(
        "{file}: {}",
        units::counted(
            rows.len() as u64,
            "out-of-memory message",
            "out-of-memory messages"
        )
    ))?;
    let mut shown: Vec<(&Row, u64)> = Vec::new();
    let mut left_out = 0_u64;
    for row in &rows {
        // The same failure printed again, by a retry or a traceback.
        let same = |of: &OomMessage| OomMessage {
            line: 0,
            ..of.clone()
        };
        let known = shown
            .iter()
            .position(|(known, _)| same(&known.message) == same(&row.message));
        if let Some((_, times)) = known.and_then(|at| shown.get_mut(at)) {
            *times += 1;
        } else if shown.len() < SHOWN {
            shown.push((row, 1));
        } else {
            left_out += 1;
        }
    }
    for (row, times) in shown {
        print(row, times)?;
    }
    output::line("")?;
    if left_out > 0 {
        output::line(&format!(
            "{} not shown, which none of these {SHOWN} repeats: --json has all.",
            units::counted(left_out, "further message is", "further messages are")
        ))?;
    }
    output::line(
        "Read from text alone, so every figure is rounded as the message rounds it. A snapshot \
         (gpumemprof run, or torch.cuda.memory._dump_snapshot) tells which lines and layers held \
         the memory.",
    )
}

fn judge(message: OomMessage) -> Row {
    let class = message.class();
    Row {
        class,
        title: class.title(),
        outside_pytorch: message.outside(),
        reserved_unused: message.unused(),
        held_and_requested: message.held_and_requested(),
        message,
    }
}

fn print(row: &Row, times: u64) -> Result<(), CommandError> {
    let message = &row.message;
    let of = |name: &str, number: Option<u64>| {
        number.map_or(String::new(), |number| format!(", {name} {number}"))
    };
    let again = if times > 1 {
        format!(", {times} times")
    } else {
        String::new()
    };
    output::line("")?;
    output::heading(&format!(
        "line {}{again}{}{}, {}: {}",
        message.line,
        of("rank", message.rank),
        of("device", message.device),
        message.backend,
        row.title
    ))?;
    let mut rows = Vec::new();
    for (name, amount) in [
        ("asked for", message.requested),
        ("device in all", message.total),
        ("limit set for this process", message.allowed),
        ("driver had free", message.free),
        ("allocated by PyTorch", message.allocated),
        ("  in private pools (CUDA graphs)", message.private_pools),
        ("other allocations", message.other_allocations),
        ("held and asked for", row.held_and_requested),
        ("reserved by PyTorch, unused", row.reserved_unused),
        ("this process in all", message.this_process),
        ("outside PyTorch", row.outside_pytorch),
    ] {
        let is_derived = match name {
            "held and asked for" | "outside PyTorch" => true,
            "reserved by PyTorch, unused" => message.reserved_unallocated.is_none(),
            _ => false,
        };
        if let Some(amount) = amount {
            let text = if is_derived {
                derived(amount)
            } else {
                units::bytes(amount.bytes)
            };
            rows.push(vec![name.to_owned(), text]);
        }
    }
    for process in &message.processes {
        rows.push(vec![
            format!("process {} (as the driver numbers it)", process.process),
            units::bytes(process.amount.bytes),
        ]);
    }
    if rows.is_empty() {
        return output::line("  the message has no figures");
    }
    output::table(&[("", Align::Left), ("", Align::Right)], rows)
}

/// A figure that the message does not have but its rounded figures give.
fn derived(amount: Amount) -> String {
    if amount.uncertainty_bytes == 0 {
        units::bytes(amount.bytes)
    } else if amount.bytes <= amount.uncertainty_bytes {
        let most = amount.bytes.saturating_add(amount.uncertainty_bytes);
        format!("at most {}", units::bytes(most))
    } else {
        format!(
            "{} ± {}",
            units::bytes(amount.bytes),
            units::bytes(amount.uncertainty_bytes)
        )
    }
}
