// Who holds the chosen moment, as one list of groups: every panel below the timeline sums these.

/**
 * The holders at the chosen moment: `{ row, stack, layer, layerKnown, category, categoryKnown,
 * bytes, count }`, one per allocation kept, and the smaller ones grouped where the page has them.
 */
function holdersAt(moment) {
  const { device } = state;
  const { allocations } = device;
  const holders = liveAt(device, moment).map((row) => ({
    row,
    stack: allocations.stack[row],
    layer: allocations.layer[row],
    layerKnown: allocations.layerKnown[row],
    category: allocations.category[row],
    categoryKnown: allocations.categoryKnown[row],
    bytes: allocations.size[row],
    count: 1,
  }));
  holders.push(...smallerAt(device, moment));
  return holders;
}

/** The allocations not kept one by one: grouped at checkpoints, else as one unnamed holder. */
function smallerAt(device, moment) {
  const unknown = page.categories.length - 1;
  const unnamed = (sum, many) => ({ row: -1, stack: -1, layer: 0, layerKnown: "u", category: unknown, categoryKnown: "u", bytes: sum, count: many });
  const checkpoint = device.checkpoints.get(moment);
  if (!checkpoint) {
    const row = rowOf(device, moment);
    return device.restBytes[row] > 0 ? [unnamed(device.restBytes[row], device.restCount[row])] : [];
  }
  const groups = checkpoint.groups.map(([stack, layer, category, sum, many], n) => ({
    row: -1, stack, layer, layerKnown: checkpoint.known[2 * n], category, categoryKnown: checkpoint.known[2 * n + 1], bytes: sum, count: many,
  }));
  const [sum, many] = checkpoint.others;
  return sum > 0 ? [...groups, unnamed(sum, many)] : groups;
}

const sumOf = (holders) => holders.reduce((sum, holder) => sum + holder.bytes, 0);

/** What the panels say about how complete the chosen moment is. */
function completeness(holders) {
  const { device } = state;
  if (device.allAllocations) return "Every allocation of this moment is counted.";
  const unnamed = holders.filter((holder) => holder.stack === -1).reduce((sum, holder) => sum + holder.bytes, 0);
  if (unnamed === 0) return "Every allocation of this moment is counted.";
  return `${bytes(unnamed)} of this moment are in allocations whose stacks are not in this page; their sum is exact.`;
}
