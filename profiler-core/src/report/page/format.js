// Bytes, counts and times as people read them; the same forms as the command line's.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"];

function bytes(value) {
  const sign = value < 0 ? "−" : "";
  let size = Math.abs(value);
  if (size < 1024) return `${sign}${size} B`;
  let unit = -1;
  while (size >= 1023.995 && unit + 1 < UNITS.length) {
    size /= 1024;
    unit += 1;
  }
  return `${sign}${size.toFixed(2)} ${UNITS[unit]}`;
}

/** For axes: no decimals where there is nothing behind the point. */
function shortBytes(value) {
  return bytes(value).replace(/\.00 /, " ").replace(/(\.\d)0 /, "$1 ");
}

function count(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function percent(part, whole) {
  return whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : "–";
}

function duration(us) {
  if (us < 1e3) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(1)} ms`;
  if (us < 120e6) return `${(us / 1e6).toFixed(2)} s`;
  return `${Math.floor(us / 60e6)} min ${Math.floor(us / 1e6) % 60} s`;
}

const exactBytes = (value) => `${count(value)} bytes`;

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
  for (const factor of [1, 2, 5]) if (factor * power >= rough) return factor * power;
  return 10 * power;
}

/** A binary step for byte axes: 1, 2, 4, 8, … or 5 times 10 to the, of the unit in use. */
function byteStep(rough) {
  let unit = 1;
  while (rough >= 1024 * unit && unit < 1024 ** 5) unit *= 1024;
  const inUnit = rough / unit;
  for (const step of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]) if (step >= inUnit) return step * unit;
  return 1024 * unit;
}
