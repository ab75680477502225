//! `CUDA_VISIBLE_DEVICES` as NVML's boards.
//!
//! CUDA numbers what the variable names, in its order, and stops at the first entry that names
//! nothing (CUDA C++ Programming Guide, "CUDA Environment Variables"). NVML does not know the
//! variable and numbers all boards by their place on the bus.

use serde::Serialize;

use crate::board::Board;

/// A device as CUDA numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Visible {
    /// CUDA's number.
    pub device: u32,
    /// NVML's number; None where the variables leave it open.
    pub board: Option<u32>,
    /// The MIG instance on that board.
    pub instance: Option<u32>,
}

/// The devices that a process with these variables sees, in CUDA's order. `visible` is
/// `CUDA_VISIBLE_DEVICES` (None: not set), `order` is `CUDA_DEVICE_ORDER`.
///
/// Numbers in the variable count boards in CUDA's own order, fastest first by default. That is
/// NVML's only with `PCI_BUS_ID` or where all boards are of one model; elsewhere the board of a
/// number is left open.
#[must_use]
pub fn visible(boards: &[Board], visible: Option<&str>, order: Option<&str>) -> Vec<Visible> {
    let in_bus_order = order == Some("PCI_BUS_ID")
        || boards
            .windows(2)
            .all(|two| matches!(two, [a, b] if a.name == b.name));
    let of_number = |number: usize| {
        let board = boards.get(number)?;
        // A split board runs CUDA on an instance; the first, where none is named.
        let instance = board.instances.first().map(|instance| instance.index);
        Some((
            in_bus_order.then_some(board.index),
            instance.filter(|_| in_bus_order),
        ))
    };
    let found: Vec<(Option<u32>, Option<u32>)> = match visible {
        None => (0..boards.len()).filter_map(of_number).collect(),
        Some(text) => {
            let mut found = Vec::new();
            for entry in text.split(',').map(str::trim) {
                let place = match entry.parse::<usize>() {
                    Ok(number) => of_number(number),
                    Err(_) => by_uuid(boards, entry),
                };
                match place {
                    // A device that is named twice ends the list too.
                    Some(place) if place.0.is_none() || !found.contains(&place) => {
                        found.push(place)
                    }
                    _ => break,
                }
            }
            found
        }
    };
    let numbered = found.into_iter().zip(0..);
    numbered
        .map(|((board, instance), device)| Visible {
            device,
            board,
            instance,
        })
        .collect()
}

/// The board or instance of a UUID or the beginning of one, if there is exactly one.
fn by_uuid(boards: &[Board], entry: &str) -> Option<(Option<u32>, Option<u32>)> {
    let is_named = |uuid: &Option<String>| {
        let uuid = uuid.as_deref().unwrap_or_default();
        entry.len() > 4
            && uuid.len() >= entry.len()
            && uuid
                .get(..entry.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(entry))
    };
    let mut places = Vec::new();
    for board in boards {
        if is_named(&board.uuid) {
            let first = board.instances.first().map(|instance| instance.index);
            places.push((Some(board.index), first));
        }
        let instances = board.instances.iter().filter(|one| is_named(&one.uuid));
        places.extend(instances.map(|one| (Some(board.index), Some(one.index))));
    }
    match places.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// Whether two UUIDs are of one device, whatever their prefix (`GPU-`, `MIG-` or none).
#[must_use]
pub fn is_same_uuid(a: &str, b: &str) -> bool {
    let bare = |text: &str| {
        let text = text.to_ascii_lowercase();
        let rest = text.strip_prefix("gpu-").or(text.strip_prefix("mig-"));
        rest.map(str::to_owned).unwrap_or(text)
    };
    !a.is_empty() && bare(a) == bare(b)
}

/// A place on the PCI bus, `00000000:01:00.0` or `0000:01:00.0`, as domain, bus and device.
#[must_use]
pub fn bus_place(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text
        .split([':', '.'])
        .map(|part| u32::from_str_radix(part, 16));
    let mut next = || parts.next()?.ok();
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Instance;

    fn boards() -> Vec<Board> {
        let uuids = [
            "GPU-aaaa0000-0000",
            "GPU-bbbb0000-0000",
            "GPU-bbbb1111-0000",
        ];
        (0..3)
            .map(|index| Board {
                index,
                name: Some("NVIDIA H100".to_owned()),
                uuid: Some(uuids[index as usize].to_owned()),
                ..Board::default()
            })
            .collect()
    }

    fn numbers(found: &[Visible]) -> Vec<Option<u32>> {
        found.iter().map(|one| one.board).collect()
    }

    #[test]
    fn the_variable_selects_and_orders() {
        let boards = boards();
        let cases: [(Option<&str>, &[u32]); 10] = [
            (None, &[0, 1, 2]),
            (Some(""), &[]),
            (Some("1"), &[1]),
            (Some("2, 0"), &[2, 0]),
            (Some("0,-1,1"), &[0]),
            (Some("0,7,1"), &[0]),
            (Some("1,1"), &[1]),
            (Some("GPU-aaaa"), &[0]),
            (Some("GPU-bbbb"), &[]),
            (Some("GPU-bbbb1111-0000,0"), &[2, 0]),
        ];
        for (setting, expected) in cases {
            let found = numbers(&visible(&boards, setting, None));
            let expected: Vec<_> = expected.iter().copied().map(Some).collect();
            assert_eq!(found, expected, "{setting:?}");
        }
    }

    #[test]
    fn numbers_of_unlike_boards_mean_cudas_own_order() {
        let mut boards = boards();
        boards[0].name = Some("NVIDIA L4".to_owned());
        assert_eq!(numbers(&visible(&boards, Some("1"), None)), [None]);
        assert_eq!(
            numbers(&visible(&boards, Some("1"), Some("PCI_BUS_ID"))),
            [Some(1)]
        );
        assert_eq!(
            numbers(&visible(&boards, Some("GPU-aaaa"), None)),
            [Some(0)]
        );
    }

    #[test]
    fn instances_are_named_by_their_uuid() {
        let mut boards = boards();
        boards[1].is_mig = true;
        boards[1].instances = [0, 3]
            .map(|index| Instance {
                index,
                uuid: Some(format!("MIG-{index}ccc-11")),
                ..Instance::default()
            })
            .to_vec();
        let found = visible(&boards, Some("MIG-3ccc-11,1"), None);
        let places: Vec<_> = found.iter().map(|one| (one.board, one.instance)).collect();
        assert_eq!(places, [(Some(1), Some(3)), (Some(1), Some(0))]);
        assert!(is_same_uuid("MIG-3ccc-11", "3CCC-11") && !is_same_uuid("", ""));
        assert_eq!(bus_place("00000000:1A:00.0"), Some((0, 26, 0)));
        assert_eq!(bus_place("nonsense"), None);
    }
}
