// What every page with a list has: copy buttons, and times that stay true.

import { wireCopyButtons } from "./clipboard.js";
import { keepTimes } from "./relative.js";

wireCopyButtons();
keepTimes();
