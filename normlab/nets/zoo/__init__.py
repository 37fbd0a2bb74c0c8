"""Networks of other libraries; each module is for one library and imports it only to build."""
