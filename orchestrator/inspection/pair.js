// The problems of #data, with the answers of both sides beside each other. See list.js.
const FLIPS = { right: ["right", "✓ flipped to right"], wrong: ["wrong", "✗ flipped to wrong"], "": ["quiet", "~ moved"] };

const source = document.getElementById("data");
const { names, problems } = JSON.parse(source.textContent);
source.remove();

function answersOf(problem, side) {
  const made = element("div", "side", element("h2", "", visible(names[problem.pair][side])));
  if (problem.prompts[0] !== problem.prompts[1]) made.append(element("pre", "", ...marked(problem.prompts[side])));
  for (const answer of problem.sides[side]) {
    made.append(element("h3", "", `Sample ${answer.sample} · `, ...facts(answer)));
    made.append(element("pre", "", ...marked(answer.completion)));
  }
  return made;
}

function body(problem) {
  const made = element("div", "body");
  if (problem.prompts[0] === problem.prompts[1]) {
    made.append(element("h2", "", "Prompt"), element("pre", "", ...marked(problem.prompts[0])));
  }
  made.append(element("div", "sides", answersOf(problem, 0), answersOf(problem, 1)));
  return made;
}

function heading(problem) {
  const [kind, words] = FLIPS[problem.flip];
  const shares = problem.shares.map((share) => `${Math.round(100 * share)} %`).join(" → ");
  const summary = element("summary", "",
    element("span", "id", ...marked(problem.id)), element("span", "", visible(problem.benchmark)),
    verdict(kind, words), element("span", "", `right ${shares}`));
  if (names.length > 1) summary.append(element("span", "quiet", visible(names[problem.pair].join(" → "))));
  if (problem.gold !== null) summary.append(element("span", "", "gold ", ...marked(problem.gold)));
  const prompt = problem.prompts[0];
  const beginning = prompt.length > 300 ? `… ${prompt.slice(-300)}` : prompt;
  summary.append(element("span", "quiet beginning", visible(beginning.replace(/\s+/g, " "))));
  return summary;
}

function texts(problem) {
  const answers = problem.sides.flat().flatMap((answer) => [answer.completion, answer.extracted, answer.error]);
  return [problem.id, problem.gold, ...problem.prompts, ...answers];
}

function wish() {
  const [flips, benchmarks] = [chosen("flip"), chosen("benchmark")];
  return (problem) =>
    (!flips.length || flips.includes(problem.flip)) && (!benchmarks.length || benchmarks.includes(problem.benchmark));
}
