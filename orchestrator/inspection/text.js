"use strict";
// Texts of others as nodes: everything of theirs becomes a text node, never markup.
const WORDS = { wrong: "✗ wrong", error: "! error", unparsed: "? no answer found", right: "✓ right" };
// As in launch/escape.py: what controls, directs or separates is shown by its number.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu;
let pattern = null;

function visible(text) {
  return text.replace(HIDDEN, (each) =>
    each === "\n" || each === "\t" ? each : `<U+${each.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
}

function element(name, kind, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

// A text as nodes, with what was searched for marked.
function marked(text) {
  const whole = visible(String(text));
  if (!pattern) return [whole];
  const parts = [];
  let end = 0;
  for (const match of whole.matchAll(pattern)) {
    parts.push(whole.slice(end, match.index), element("mark", "", match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, whole.slice(end)];
}

// What is searched for, as it is typed: no character of it is special.
function searched(text) {
  return text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&"), "giu") : null;
}

function verdict(name, words) {
  return element("span", `verdict ${name}`, words);
}

function facts(answer) {
  const parts = [verdict(answer.verdict, WORDS[answer.verdict])];
  if (answer.error !== null) parts.push(" · ", ...marked(answer.error));
  if (answer.extracted !== null) parts.push(" · extracted ", ...marked(answer.extracted));
  if (answer.tokens !== null) parts.push(` · ${answer.tokens} tokens`);
  if (answer.truncated) parts.push(" · … truncated");
  return parts;
}
