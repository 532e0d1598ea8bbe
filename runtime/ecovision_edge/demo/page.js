/* What Gradio has no option for: a screen reader says each new answer, and knows what the examples are.
   A picture that the browser cannot show, a TIFF or none at all, is marked: the style hides it. */
new MutationObserver(() => {
  document.getElementById("eco-said")?.setAttribute("aria-live", "polite");
  for (const button of document.querySelectorAll("#eco-examples button:not([aria-label])")) {
    const kind = button.querySelector("img")?.src.match(/drawn-(\w+)\.png$/);
    if (kind) button.setAttribute("aria-label", `Synthetic example: ${kind[1]}`);
  }
}).observe(document, { childList: true, subtree: true });
document.addEventListener("error", ({ target }) => {
  if (target instanceof HTMLImageElement && target.closest("#eco-picture")) target.classList.add("eco-unshown");
}, true);
document.addEventListener("load", ({ target }) => {
  if (target instanceof HTMLImageElement) target.classList.remove("eco-unshown");
}, true);
