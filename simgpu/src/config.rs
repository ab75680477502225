//! What the user asked to be simulated, from environment variables.

use crate::ffi::complain;
use crate::gpu_model::{self, GpuModel};

/// Devices that can be simulated at once: one address window each.
pub(crate) const MAX_DEVICES: usize = 8;

/// MIG instances of a board at most (Multi-Instance GPU User Guide: 7 on every model that has them).
pub(crate) const MAX_INSTANCES: usize = 7;

/// Where programs run and memory is counted: a board, or a MIG instance of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// The board.
    pub(crate) board: usize,
    /// The instance on it; 0 on a board that is not split.
    pub(crate) instance: usize,
}

/// A process that is not simulated but holds memory of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherProcess {
    /// The board; on its first instance, where it is split.
    pub(crate) device: usize,
    /// Its process id, as NVML shows it.
    pub(crate) pid: u32,
    /// Bytes it holds.
    pub(crate) bytes: u64,
}

/// What NVML reports as broken, refuses or, like an old driver, lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NvmlFaults {
    /// `nvmlInit` finds no driver.
    pub(crate) no_driver: bool,
    /// Process lists need a permission that the caller lacks.
    pub(crate) no_permission: bool,
    /// Board 0 has fallen off the bus after this many memory queries of a process.
    pub(crate) lost_after: Option<u64>,
    /// Process lists give no bytes.
    pub(crate) no_process_memory: bool,
    /// The second version of the memory query is not there: a driver before 510.
    pub(crate) memory_v1: bool,
    /// The newest version of the process lists; 0: all are there.
    pub(crate) processes_version: u8,
}

/// The simulated machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The GPU model of every board.
    pub(crate) model: GpuModel,
    /// Boards.
    pub(crate) devices: usize,
    /// Memory of each board that programs can use, bytes.
    pub(crate) capacity: u64,
    /// Bytes that every process holds on a device from its first use of it, beyond what it allocates.
    pub(crate) context: u64,
    /// Bytes that the driver keeps to itself: in NVML's total, in nobody's reach.
    pub(crate) reserved: u64,
    /// Processes outside the simulation.
    pub(crate) others: Vec<OtherProcess>,
    /// How often an event answers "not ready" after it was recorded, before it is done.
    pub(crate) pending: u32,
    /// What NVML reports as broken.
    pub(crate) nvml_faults: NvmlFaults,
    /// Added to the ids of simulated processes in NVML's lists, as if they ran in a container.
    pub(crate) pid_offset: u32,
    /// The memory of each MIG instance of every board; empty: MIG is off.
    pub(crate) mig: Vec<u64>,
    /// File with the counters that processes share; `None`: this process alone.
    pub(crate) state: Option<String>,
    /// What the runtime shows to this process, in its order.
    pub(crate) visible: Vec<Site>,
}

impl Config {
    /// Reads the process environment. A value that cannot be read is complained about on stderr and
    /// the default is used.
    pub(crate) fn from_env() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// Reads settings through `environment`. An empty setting is none, but for
    /// `CUDA_VISIBLE_DEVICES`, where it means no device.
    pub(crate) fn from_lookup(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        let parsed = |name: &str, parse: &dyn Fn(&str) -> Option<u64>, default: u64| -> u64 {
            match lookup(name) {
                None => default,
                Some(value) => parse(&value).unwrap_or_else(|| {
                    complain(&format!(
                        "{name}={value}: not understood, {default} is used"
                    ));
                    default
                }),
            }
        };
        let number = |value: &str| value.trim().parse().ok();
        let model = match lookup("SIMGPU_MODEL") {
            None => gpu_model::DEFAULT_MODEL,
            Some(key) => gpu_model::find(&key).unwrap_or_else(|| {
                let known: Vec<_> = gpu_model::MODELS.iter().map(|m| m.key).collect();
                complain(&format!(
                    "SIMGPU_MODEL={key}: not one of {known:?}, h100 is used"
                ));
                gpu_model::DEFAULT_MODEL
            }),
        };
        let devices = parsed("SIMGPU_DEVICES", &number, 1);
        let devices = usize::try_from(devices)
            .unwrap_or(MAX_DEVICES)
            .min(MAX_DEVICES);
        let others = lookup("SIMGPU_OTHERS").map_or_else(Vec::new, |text| {
            parse_others(&text).unwrap_or_else(|| {
                complain(&format!(
                    "SIMGPU_OTHERS={text}: expected [DEVICE/]PID=SIZE,..., as in 4242=10GiB,1/4243=512MiB; none is used"
                ));
                Vec::new()
            })
        });
        let nvml_faults = lookup("SIMGPU_NVML_FAULT").map_or_else(NvmlFaults::default, |text| {
            parse_faults(&text).unwrap_or_else(|| {
                complain(&format!(
                    "SIMGPU_NVML_FAULT={text}: expected a list of no-driver, no-permission, lost, lost-after=N, no-process-memory, memory-v1, processes-v1, processes-v2; none is used"
                ));
                NvmlFaults::default()
            })
        });
        let mig = lookup("SIMGPU_MIG").map_or_else(Vec::new, |text| {
            let sizes = text.split(',').map(parse_size).collect::<Option<Vec<_>>>();
            sizes.filter(|sizes| sizes.len() <= MAX_INSTANCES).unwrap_or_else(|| {
                complain(&format!(
                    "SIMGPU_MIG={text}: expected the sizes of up to {MAX_INSTANCES} instances, as in 10GiB,20GiB; MIG is off"
                ));
                Vec::new()
            })
        });
        let visible = visible_devices(
            environment("CUDA_VISIBLE_DEVICES").as_deref(),
            devices,
            mig.len(),
        );
        Self {
            model,
            devices,
            capacity: parsed("SIMGPU_CAPACITY", &parse_size, model.memory_mib << 20),
            context: parsed("SIMGPU_CONTEXT", &parse_size, 0),
            reserved: parsed("SIMGPU_RESERVED", &parse_size, 0),
            others,
            pending: u32::try_from(parsed("SIMGPU_PENDING", &number, 0)).unwrap_or(u32::MAX),
            nvml_faults,
            pid_offset: u32::try_from(parsed("SIMGPU_PID_OFFSET", &number, 0)).unwrap_or(0),
            mig,
            state: lookup("SIMGPU_STATE"),
            visible,
        }
    }

    /// Processes outside the simulation in a site.
    pub(crate) fn others_in(&self, site: Site) -> impl Iterator<Item = &OtherProcess> {
        self.others
            .iter()
            .filter(move |other| (other.device, 0) == (site.board, site.instance))
    }

    /// Bytes that they hold.
    pub(crate) fn others_bytes(&self, site: Site) -> u64 {
        self.others_in(site)
            .fold(0, |sum, other| sum.saturating_add(other.bytes))
    }

    /// Bytes that programs can use of a site.
    pub(crate) fn capacity_of(&self, site: Site) -> u64 {
        self.mig
            .get(site.instance)
            .copied()
            .unwrap_or(self.capacity)
    }

    /// The sites of a board: its instances, or the board.
    pub(crate) fn sites(&self, board: usize) -> impl Iterator<Item = Site> {
        (0..self.mig.len().max(1)).map(move |instance| Site { board, instance })
    }

    /// What CUDA calls the device in a site, and NVML an instance.
    pub(crate) fn name_of(&self, site: Site) -> String {
        match self.mig.get(site.instance) {
            Some(bytes) => format!("{} MIG {}gb", self.model.name, bytes >> 30),
            None => self.model.name.to_owned(),
        }
    }
}

/// A number of bytes: `N`, `NKiB`, `NMiB`, `NGiB` (the `iB` or `B` may be left out; always powers of
/// 1024), with a fraction if it comes out whole.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut bytes = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let parts = fraction.parse::<u64>().ok()?.checked_mul(scale)?;
        bytes = bytes.checked_add(parts / divisor)?;
    }
    Some(bytes)
}

fn parse_others(text: &str) -> Option<Vec<OtherProcess>> {
    text.split(',')
        .map(|entry| {
            let (who, size) = entry.split_once('=')?;
            let (device, pid) = who.split_once('/').unwrap_or(("0", who));
            Some(OtherProcess {
                device: device.trim().parse().ok()?,
                pid: pid.trim().parse().ok()?,
                bytes: parse_size(size)?,
            })
        })
        .collect()
}

fn parse_faults(text: &str) -> Option<NvmlFaults> {
    let mut faults = NvmlFaults::default();
    for word in text.split(',').map(str::trim) {
        match word {
            "no-driver" => faults.no_driver = true,
            "no-permission" => faults.no_permission = true,
            "no-process-memory" => faults.no_process_memory = true,
            "memory-v1" => faults.memory_v1 = true,
            "processes-v1" => faults.processes_version = 1,
            "processes-v2" => faults.processes_version = 2,
            "lost" => faults.lost_after = Some(0),
            _ => faults.lost_after = Some(word.strip_prefix("lost-after=")?.parse().ok()?),
        }
    }
    Some(faults)
}

/// The UUID of a board, as `nvidia-smi -L` prints it.
pub(crate) fn uuid_text(device: usize) -> String {
    format!("GPU-{}", grouped(uuid(device)))
}

/// The UUID of a MIG instance, as `nvidia-smi -L` prints it.
pub(crate) fn instance_uuid_text(site: Site) -> String {
    format!("MIG-{}", grouped(instance_uuid(site)))
}

fn grouped(uuid: [u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// The UUID of a board: the ASCII text `simgpu` and its number.
pub(crate) fn uuid(device: usize) -> [u8; 16] {
    let mut bytes = *b"simgpu\x40\x00\x80\x00\x00\x00\x00\x00\x00\x00";
    bytes[15] = u8::try_from(device).unwrap_or(u8::MAX);
    bytes
}

/// The UUID of a MIG instance: the board's with the instance's number in the second last byte.
pub(crate) fn instance_uuid(site: Site) -> [u8; 16] {
    let mut bytes = uuid(site.board);
    bytes[14] = u8::try_from(site.instance + 0x10).unwrap_or(u8::MAX);
    bytes
}

/// `CUDA_VISIBLE_DEVICES` as the CUDA Programming Guide defines it: numbers or UUID prefixes; the
/// first entry that names no board ends the list. A split board stands for its first instance, and a
/// process sees one instance only (Multi-Instance GPU User Guide, "CUDA Device Enumeration").
fn visible_devices(setting: Option<&str>, devices: usize, instances: usize) -> Vec<Site> {
    let whole = |board| Site { board, instance: 0 };
    let most = if instances == 0 { devices } else { 1 };
    let Some(setting) = setting else {
        return (0..devices).map(whole).take(most).collect();
    };
    let mut visible = Vec::new();
    for entry in setting.split(',').map(str::trim) {
        let site = match entry.parse::<usize>() {
            Ok(number) => Some(number).filter(|&number| number < devices).map(whole),
            Err(_) if entry.starts_with("GPU-") => (0..devices)
                .find(|&device| uuid_text(device).starts_with(entry))
                .map(whole),
            Err(_) if entry.starts_with("MIG-") => (0..devices)
                .flat_map(|board| (0..instances).map(move |instance| Site { board, instance }))
                .find(|&site| instance_uuid_text(site).starts_with(entry)),
            Err(_) => None,
        };
        match site {
            Some(site) if !visible.contains(&site) => visible.push(site),
            _ => break,
        }
    }
    visible.truncate(most);
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(board: usize) -> Site {
        Site { board, instance: 0 }
    }

    fn config(settings: &[(&str, &str)]) -> Config {
        Config::from_lookup(&|name| {
            settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1024"), Some(1024));
        assert_eq!(parse_size("80GiB"), Some(80 << 30));
        assert_eq!(parse_size("2.5g"), Some((5 << 30) / 2));
        assert_eq!(parse_size("3 MB"), Some(3 << 20));
        assert_eq!(parse_size("-1"), None);
        assert_eq!(parse_size("12parsecs"), None);
        assert_eq!(parse_size("99999999999999999999"), None);
    }

    #[test]
    fn defaults_are_one_h100() {
        let config = config(&[]);
        assert_eq!(config.model.key, "h100");
        assert_eq!((config.devices, config.capacity), (1, 81_559 << 20));
        assert_eq!((config.context, config.reserved, config.pending), (0, 0, 0));
        assert_eq!(config.visible, [on(0)]);
    }

    #[test]
    fn others_and_faults() {
        let config = config(&[
            ("SIMGPU_DEVICES", "2"),
            ("SIMGPU_OTHERS", "4242=10GiB,1/7=1MiB,8=1KiB"),
            ("SIMGPU_NVML_FAULT", "lost-after=3,memory-v1"),
        ]);
        assert_eq!(config.others_bytes(on(0)), (10 << 30) + 1024);
        assert_eq!(config.others_bytes(on(1)), 1 << 20);
        assert_eq!(config.nvml_faults.lost_after, Some(3));
        assert!(config.nvml_faults.memory_v1);
        assert_eq!(parse_faults("memory-v1,nonsense"), None);
    }

    #[test]
    fn visible_devices_follow_the_programming_guide() {
        let uuid = uuid_text(2);
        let cases: [(&str, &[usize]); 7] = [
            ("", &[]),
            ("1,0", &[1, 0]),
            ("0,-1,1", &[0]),
            ("3,9,1", &[3]),
            (&uuid, &[2]),
            ("NoDevFiles", &[]),
            ("1,1", &[1]),
        ];
        for (setting, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|&board| on(board)).collect();
            assert_eq!(visible_devices(Some(setting), 4, 0), expected, "{setting}");
        }
    }

    #[test]
    fn a_process_sees_one_instance() {
        let second = Site {
            board: 1,
            instance: 1,
        };
        let uuid = instance_uuid_text(second);
        assert_eq!(uuid, "MIG-73696d67-7075-4000-8000-000000001101");
        let seen = |setting: &str, instances| visible_devices(Some(setting), 2, instances);
        assert_eq!(visible_devices(None, 2, 3), [on(0)]);
        assert_eq!(seen(&uuid, 3), [second]);
        assert_eq!(seen(&format!("{uuid},0"), 3), [second]);
        assert_eq!(seen("1,0", 3), [on(1)]);
        assert_eq!(seen(&uuid, 1), []);
        assert_eq!(seen(&uuid, 0), []);
        let config = config(&[("SIMGPU_MIG", "10GiB,20GiB"), ("SIMGPU_OTHERS", "7=1MiB")]);
        let sites: Vec<_> = config.sites(0).collect();
        let figures = |site| (config.capacity_of(site), config.others_bytes(site));
        assert_eq!(sites.len(), 2);
        assert_eq!(figures(sites[0]), (10 << 30, 1 << 20));
        assert_eq!(figures(sites[1]), (20 << 30, 0));
        assert_eq!(config.name_of(sites[1]), "NVIDIA H100 80GB HBM3 MIG 20gb");
    }
}
