// Prometheus text, read into series: parse(text).get("name") is a list of {labels, value}.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

export function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found;
    if (!series.has(name)) series.set(name, []);
    series.get(name).push({ labels: readLabels(labels), value: readNumber(value) });
  }
  return series;
}

// The sum of a metric over its label values, or over those that `wanted` accepts.
/** @param {(labels: Record<string, string>) => boolean} wanted */
export function total(series, name, wanted = () => true) {
  return (series.get(name) ?? []).reduce(
    (sum, { labels, value }) => (wanted(labels) ? sum + value : sum),
    0,
  );
}

// A metric by one of its labels: [["ok", 12], ["timeout", 3]].
export function byLabel(series, name, label) {
  return (series.get(name) ?? []).map((s) => [s.labels[label], s.value]);
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\[n"\\]/g, (escaped) => ESCAPES[escaped]);
  }
  return labels;
}

function readNumber(text) {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}
