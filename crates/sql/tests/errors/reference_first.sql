SELECT name FROM merchants
