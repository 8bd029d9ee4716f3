/** The shared parts, all but `curve.js`, which brings its library along. */

export { Bars } from "./bars.js";
export { Button, CopyButton, LinkButton } from "./button.js";
export { Code, Verbatim } from "./code.js";
export { ConfirmDialog, Dialog } from "./dialog.js";
export { DropArea } from "./drop_area.js";
export { Checkbox, Choice, Field, fieldError, NumberField, parseNumber, Select, Slider, TextArea, TextField } from "./field.js";
export { FileChoice, FileProgress } from "./file_choice.js";
export { Icon } from "./icon.js";
export { Badge, Columns, Empty, Facts, Page, Panel, Row, Spinner, Stat, Stats, Time } from "./layout.js";
export { ErrorNotice, Notice, sentence } from "./notice.js";
export { Table } from "./table.js";
export { Tabs } from "./tabs.js";
export { Timeline } from "./timeline.js";
