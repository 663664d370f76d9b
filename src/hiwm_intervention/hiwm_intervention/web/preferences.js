// SPDX-License-Identifier: Apache-2.0
// Check boxes that this browser remembers.

// `apply(on)` is called now and on every change.
export function remember(id, apply) {
  const box = document.getElementById(id);
  const stored = localStorage.getItem(id);
  if (stored !== null) box.checked = stored === 'true';
  const use = () => {
    localStorage.setItem(id, String(box.checked));
    apply?.(box.checked);
  };
  box.addEventListener('change', use);
  use();
}
