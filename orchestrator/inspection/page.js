// The problems of #data: prompts, answers and verdicts. See list.js.
const source = document.getElementById("data");
const problems = JSON.parse(source.textContent);
source.remove();

function body(problem) {
  const made = element("div", "body", element("h2", "", "Prompt"), element("pre", "", ...marked(problem.prompt)));
  for (const answer of problem.answers) {
    made.append(element("h2", "", `Sample ${answer.sample} · `, ...facts(answer)));
    made.append(element("pre", "", ...marked(answer.completion)));
  }
  return made;
}

// How many answers of a problem have each verdict: "✗ wrong", or "✗ wrong 1 · ✓ right 3" of several.
function verdicts(answers) {
  const parts = [];
  for (const [name, words] of Object.entries(WORDS)) {
    const count = answers.filter((answer) => answer.verdict === name).length;
    if (count) parts.push(parts.length ? " · " : "", verdict(name, answers.length > 1 ? `${words} ${count}` : words));
  }
  return element("span", "", ...parts);
}

function heading(problem) {
  const summary = element("summary", "", element("span", "id", ...marked(problem.id)), verdicts(problem.answers));
  if (problem.gold !== null) summary.append(element("span", "", "gold ", ...marked(problem.gold)));
  const beginning = problem.prompt.length > 300 ? `… ${problem.prompt.slice(-300)}` : problem.prompt;
  summary.append(element("span", "quiet beginning", visible(beginning.replace(/\s+/g, " "))));
  return summary;
}

function texts(problem) {
  return [problem.id, problem.prompt, problem.gold, ...problem.answers.flatMap((answer) => [answer.completion, answer.extracted, answer.error])];
}

function wish() {
  const verdicts = chosen("filter");
  const fits = (answer) => verdicts.includes(answer.verdict) || (answer.truncated && verdicts.includes("truncated"));
  return (problem) => !verdicts.length || problem.answers.some(fits);
}
