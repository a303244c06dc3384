package dir

// ImportAt is Import as if it had begun at another time.
var ImportAt = importAt
