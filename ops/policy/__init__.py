"""`gongji policy check | show | diff`: region policies looked at before they count. No server needed."""
