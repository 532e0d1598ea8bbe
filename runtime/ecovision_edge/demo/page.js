/* What Gradio has no option for: a screen reader says each new answer, and knows what the examples are. */
new MutationObserver(() => {
  document.getElementById("eco-said")?.setAttribute("aria-live", "polite");
  for (const button of document.querySelectorAll("#eco-examples button:not([aria-label])")) {
    const kind = button.querySelector("img")?.src.match(/drawn-(\w+)\.png$/);
    if (kind) button.setAttribute("aria-label", `Drawn example: ${kind[1]}`);
  }
}).observe(document, { childList: true, subtree: true });
