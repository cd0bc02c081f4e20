// Which streams belong together, in which order they come, and which of them a search means: pure functions, no DOM.

// What an engineer looks at first comes first; the rest stays in the order it was recorded.
const LEADING = ["observation", "action", "reward"];
// So many streams are shown whole; of more, the groups that do not lead begin folded.
const FEW_STREAMS = 24;
const SMALL_GROUP = 4;
const STATES = /(^|[._/])(state|qpos|position|positions|joint_pos|joint_positions)$/;

/** The group of a stream: its topic, or what stands before the first dot or slash of its name. */
export function groupOf(name) {
  if (name.startsWith("/")) {
    const end = name.lastIndexOf("/");
    return end > 0 ? name.slice(0, end) : name;
  }
  return /^[^./]+/.exec(name)?.[0] ?? name;
}

/** A name as it reads below the head of its group. */
export function nameWithin(name, group) {
  const rest = name.slice(group.length);
  return name.startsWith(group) && /^[./]/.test(rest) ? rest.slice(1) : name;
}

function rank(group) {
  const index = LEADING.indexOf(group.key);
  return (index < 0 ? LEADING.length : index) + (group.items.every((item) => item.isFlag) ? LEADING.length + 1 : 0);
}

/**
 * Groups in the order in which they are shown: `[{ key, items, isFolded }]`.
 *
 * @param {{name: string, isFlag: boolean}[]} items streams in the order they were recorded
 */
export function arrange(items) {
  const groups = new Map();
  for (const item of items) {
    const key = groupOf(item.name);
    if (!groups.has(key)) groups.set(key, { key, items: [] });
    groups.get(key).items.push(item);
  }
  const many = items.length > FEW_STREAMS;
  const sorted = [...groups.values()].sort((a, b) => rank(a) - rank(b));
  return sorted.map((group) => ({
    ...group,
    isFolded: many && !LEADING.includes(group.key) && group.items.length > SMALL_GROUP,
  }));
}

/** Whether a stream's name, or one of its columns', has every word of the search in it. */
export function matches(query, name, labels) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const texts = [name, ...labels.filter((label) => !/^[\d,]*$/.test(label))].join("\n").toLowerCase();
  return words.every((word) => texts.includes(word));
}

/** What a command is best drawn over: of as many columns, named alike, or what is called a state. Null without one. */
export function overlayFor(item, items) {
  if (groupOf(item.name) !== "action" || item.labels.length < 2) return null;
  const others = items.filter(
    (other) => groupOf(other.name).startsWith("obs") && other.labels.length === item.labels.length,
  );
  const named = item.labels.some((label) => !/^[\d,]*$/.test(label));
  const sameColumns = (other) => named && other.labels.every((label, index) => sameColumn(label, item.labels[index]));
  return others.find(sameColumns) ?? others.find((other) => STATES.test(other.name)) ?? null;
}

function sameColumn(a, b) {
  const plain = (label) => label.toLowerCase().replace(/[._](pos|position|cmd|command|target|goal)$/, "");
  return plain(a) === plain(b);
}

/** Suggested first, then those of as many columns, then all others; without itself. */
export function overlayChoices(item, items) {
  const suggested = overlayFor(item, items);
  const worth = (other) => (other === suggested ? 0 : other.labels.length === item.labels.length ? 1 : 2);
  return items.filter((other) => other !== item).sort((a, b) => worth(a) - worth(b));
}
