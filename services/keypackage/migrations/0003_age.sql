CREATE INDEX last_resorts_uploaded ON last_resorts (uploaded_ms);
