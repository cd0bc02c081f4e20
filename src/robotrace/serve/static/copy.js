// Pages whose only moving parts are copy buttons.

import { wireCopyButtons } from "./clipboard.js";

wireCopyButtons();
