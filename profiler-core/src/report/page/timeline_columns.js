// What stands in each pixel column of the timeline.
//
// A column shows one moment: of all kept moments in it, the one with the most requested bytes, so
// that no peak is lost however far out one zooms. The live allocations at the columns' moments are
// found in one sweep: both are ordered by time.

/** The chosen row of the kept moments and the moment, for each of `width` columns. */
function columnMoments(device, width) {
  const xs = state.axis === "time" ? device.times : device.moments;
  const perColumn = (state.to - state.from) / width;
  const columns = { row: new Int32Array(width), moment: new Float64Array(width), low: new Float64Array(width), high: new Float64Array(width),
    reservedHigh: new Float64Array(width), activeHigh: new Float64Array(width) };
  let row = Math.max(0, lastAtMost(xs, state.from));
  for (let column = 0; column < width; column++) {
    const start = state.from + column * perColumn;
    const end = start + perColumn;
    let best = row;
    let [low, high] = [device.requested[row], device.requested[row]];
    let [reserved, active] = [device.reserved[row], device.active[row]];
    let found = false;
    while (row + 1 < xs.length && xs[row + 1] < end) {
      row += 1;
      const value = device.requested[row];
      if (!found || value > device.requested[best]) best = row;
      found = true;
      low = Math.min(low, value);
      high = Math.max(high, value);
      reserved = Math.max(reserved, device.reserved[row]);
      active = Math.max(active, device.active[row]);
    }
    columns.row[column] = best;
    columns.moment[column] = found || state.axis === "time" ? device.moments[best] : Math.max(device.moments[best], Math.floor(start));
    columns.low[column] = low;
    columns.high[column] = high;
    columns.reservedHigh[column] = reserved;
    columns.activeHigh[column] = active;
  }
  return columns;
}

/** Calls `visit(column, live)` for every column with the rows live at its moment, oldest first. */
function sweepLive(device, columns, visit) {
  const { born, died, count: all } = device.allocations;
  let live = [];
  let next = 0;
  for (let column = 0; column < columns.moment.length; column++) {
    const moment = columns.moment[column];
    if (column > 0 && moment === columns.moment[column - 1]) {
      visit(column, live);
      continue;
    }
    let kept = 0;
    for (let at = 0; at < live.length; at++) {
      if (died[live[at]] > moment) live[kept++] = live[at];
    }
    live.length = kept;
    while (next < all && born[next] <= moment) {
      if (died[next] > moment) live.push(next);
      next += 1;
    }
    visit(column, live);
  }
}

/** The bands of one moment from the bottom up: what, bytes, and the row that gives the colour. */
function bandsOf(device, live, restBytes) {
  const bands = [];
  if (restBytes > 0) bands.push({ rest: true, bytes: restBytes });
  const { key } = BANDING[state.bands];
  const { size } = device.allocations;
  if (!key) {
    for (const row of live) bands.push({ row, bytes: size[row] });
    return bands;
  }
  const groups = new Map();
  for (const row of live) {
    const group = key(row);
    const known = groups.get(group);
    if (known) {
      known.bytes += size[row];
      known.count += 1;
    } else groups.set(group, { row, group, bytes: size[row], count: 1 });
  }
  const ordered = [...groups.values()].sort((a, b) => a.group - b.group);
  return bands.concat(ordered);
}
