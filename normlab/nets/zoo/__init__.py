"""Networks of other libraries: each module names one library, and imports it when it builds."""
