// Ranked, tolerant search: which words of a query a claim has, and how well.
"use strict";
const Search = (() => {
  // What people write for what stands in sentences and sources.
  const SHORT = {
    wm: "weight matching", am: "activation matching", ste: "straight through",
    bn: "batch norm", ln: "layer norm", lr: "learning rate", wd: "weight decay",
    lmc: "connect", acc: "accuracy",
  };
  const SIGNS = [
    [/>=|=>|≥|⩾/g, ["at least", "no worse", "better", "beats"]],
    [/<=|=<|≤|⩽/g, ["at most", "no better", "worse", "below"]],
    [/>/g, ["better", "beats", "above", "more", "at least"]],
    [/</g, ["worse", "below", "less", "lower"]],
    [/=|~/g, ["same", "like", "as good", "equal"]],
  ];
  const FIELDS = [["id", 6], ["sentence", 5], ["source", 4], ["more", 1]];

  // "Tables 1, 4 and 6" -> "table1 table4 table6", so that table 1 is no other number.
  function numbered(text) {
    const lists = /\b(table|fig|figure|section|appendix)s?\.?\s+([a-z]?\d+[a-z\d.]*(?:\s*(?:,|and|to)\s*[a-z]?\d+[a-z\d.]*)*|[a-z]\.\d+)/g;
    return text.replace(lists, (all, kind, list) => {
      const name = kind === "figure" ? "fig" : kind;
      const parts = list.match(/[a-z]?\.?\d+(?:\.\d+)*[a-z]?/g) || [];
      return ` ${parts.map(part => name + part.replace(/\.$/, "")).join(" ")} `;
    });
  }

  function words(text) {
    return numbered(text.toLowerCase()).match(/[a-z]+\d[\d.]*[a-z]?|[a-zλ]+|\d+(?:\.\d+)?/g) || [];
  }

  // At most one letter added, left out, changed, or swapped with its neighbour.
  function near(a, b) {
    if (Math.abs(a.length - b.length) > 1) return false;
    let start = 0;
    while (start < a.length && a[start] === b[start]) start += 1;
    let enda = a.length, endb = b.length;
    while (enda > start && endb > start && a[enda - 1] === b[endb - 1]) { enda -= 1; endb -= 1; }
    const x = a.slice(start, enda), y = b.slice(start, endb);
    return (x.length <= 1 && y.length <= 1) || (x.length === 2 && y.length === 2 && x[0] === y[1] && x[1] === y[0]);
  }

  function quality(wanted, held) {
    if (held === wanted) return 1;
    if (/\d/.test(wanted)) return 0;
    if (wanted.length > 1 && held.startsWith(wanted)) return .7;
    if (wanted.length > 4 && wanted.startsWith(held) && held.length > 3) return .6;
    if (wanted.length > 4 && near(wanted, held)) return .4;
    return wanted.length > 3 && held.includes(wanted) ? .3 : 0;
  }

  // What a query asks for: words that must be there, and hints that rank.
  function parse(text) {
    let rest = text.toLowerCase();
    const hints = [];
    for (const [sign, meant] of SIGNS) rest = rest.replace(sign, () => { hints.push(meant); return " "; });
    const asked = words(rest).map(word => (SHORT[word] || "").split(" ").filter(Boolean).length
      ? { any: [[word], SHORT[word].split(" ")] } : { any: [[word]] });
    return { asked, hints, empty: asked.length === 0 };
  }

  function best(wanted, fields) {
    let found = 0;
    for (const [name, weight] of FIELDS) {
      for (const held of fields[name]) found = Math.max(found, weight * quality(wanted, held));
    }
    return found;
  }

  // A claim's words by field, once.
  function index(texts) {
    const fields = Object.fromEntries(FIELDS.map(([name]) => [name, words(texts[name] || "")]));
    fields.plain = `${texts.id} ${texts.sentence}`.toLowerCase().replace(/-/g, " ");
    return fields;
  }

  // How well a claim fits, and whether it has all words.
  function score(query, fields) {
    let total = 0, all = true;
    const places = [];
    for (const { any } of query.asked) {
      const worth = Math.max(...any.map(parts => Math.min(...parts.map(part => best(part, fields)))));
      if (worth === 0) all = false;
      total += worth;
      const first = any[0][0];
      places.push(fields.plain.indexOf(first));
    }
    const inOrder = places.length > 1 && places.every((at, k) => at >= 0 && (k === 0 || at > places[k - 1]));
    if (inOrder) total += 2 + 4 / (1 + (places[places.length - 1] - places[0]) / 10);
    for (const meant of query.hints) {
      const at = meant.findIndex(words => fields.plain.includes(words));
      if (at >= 0) total += 4 - at;
    }
    return { total, all };
  }

  return { parse, index, score };
})();
