CREATE INDEX book_depth ON book (symbol, side, price);
